// A telephone in a page, for the tests: what it does is called from outside as phone.NAME(...), what it saw is in phone.seen.
import { Inviter, Registerer, RegistererState, SessionState, UserAgent, Web } from "/sip.js/index.js";

// Media stay on this machine: only the loopback address is offered and tried.
const loopback = (description) => {
  const lines = description.sdp.split("\r\n").filter((line) => !line.startsWith("a=candidate:") || / (127\.0\.0\.1|::1) /.test(line));
  return Promise.resolve({ type: description.type, sdp: lines.join("\r\n") });
};
const MODIFIERS = [loopback];

class Phone {
  constructor() {
    this.seen = { reinvites: 0, byes: 0, rejected: [], disconnects: [], sent: [], received: [] };
    this.session = null;
    this.incoming = null;
  }

  async start(server, user, domain, password) {
    this.domain = domain;
    this.agent = new UserAgent({
      uri: UserAgent.makeURI(`sip:${user}@${domain}`),
      authorizationUsername: user,
      authorizationPassword: password,
      transportOptions: { server, traceSip: false },
      sessionDescriptionHandlerFactoryOptions: { iceGatheringTimeout: 1000, peerConnectionConfiguration: { iceServers: [] } },
      logBuiltinEnabled: false,
      delegate: {
        onDisconnect: (error) => this.seen.disconnects.push(error ? String(error) : ""),
        onInvite: (invitation) => {
          this.incoming = invitation;
          this.adopt(invitation);
        },
      },
    });
    await this.agent.start();
    const transport = this.agent.transport;
    const [send, received] = [transport.send.bind(transport), transport.onMessage];
    transport.send = (message) => {
      this.seen.sent.push(message);
      return send(message);
    };
    transport.onMessage = (message) => {
      this.seen.received.push(message);
      received(message);
    };
  }

  register() {
    this.registerer = new Registerer(this.agent, { expires: 600 });
    return this.reach(this.registerer, RegistererState.Registered, () => this.registerer.register());
  }

  unregister() {
    return this.reach(this.registerer, RegistererState.Unregistered, () => this.registerer.unregister());
  }

  adopt(session) {
    this.session = session;
    session.delegate = {
      onInvite: () => {
        this.seen.reinvites += 1;
      },
      onBye: (bye) => {
        this.seen.byes += 1;
        bye.accept();
      },
    };
    session.stateChange.addListener((state) => {
      if (state === SessionState.Established) {
        const stream = new MediaStream();
        for (const receiver of this.peer().getReceivers()) stream.addTrack(receiver.track);
        document.getElementById("ear").srcObject = stream;
      }
    });
  }

  call(user) {
    const inviter = new Inviter(this.agent, UserAgent.makeURI(`sip:${user}@${this.domain}`), {
      sessionDescriptionHandlerModifiers: MODIFIERS,
      sessionDescriptionHandlerModifiersReInvite: MODIFIERS,
    });
    this.adopt(inviter);
    return this.reach(inviter, SessionState.Established, () =>
      inviter.invite({ requestDelegate: { onReject: (response) => this.seen.rejected.push(response.message.statusCode) } }),
    );
  }

  answer() {
    const invitation = this.incoming;
    invitation.sessionDescriptionHandlerModifiersReInvite = MODIFIERS;
    return this.reach(invitation, SessionState.Established, () => invitation.accept({ sessionDescriptionHandlerModifiers: MODIFIERS }));
  }

  reinvite(hold) {
    return new Promise((resolve, reject) => {
      this.session
        .invite({
          requestDelegate: {
            onAccept: (response) => resolve(response.message.statusCode),
            onReject: (response) => reject(new Error(`re-INVITE ${response.message.statusCode}`)),
          },
          sessionDescriptionHandlerModifiers: MODIFIERS,
          sessionDescriptionHandlerOptions: { hold },
        })
        .catch(reject);
    });
  }

  bye() {
    return new Promise((resolve, reject) => {
      this.session
        .bye({
          requestDelegate: {
            onAccept: (response) => resolve(response.message.statusCode),
            onReject: (response) => reject(new Error(`BYE ${response.message.statusCode}`)),
          },
        })
        .catch(reject);
    });
  }

  peer() {
    return this.session.sessionDescriptionHandler.peerConnection;
  }

  state() {
    return { session: this.session ? this.session.state : "none", incoming: this.incoming !== null, ...this.seen };
  }

  // Octets of audio heard so far.
  async heard() {
    const reports = [...(await this.peer().getStats()).values()];
    return reports.filter((r) => r.type === "inbound-rtp" && r.kind === "audio").reduce((sum, r) => sum + r.bytesReceived, 0);
  }

  // Do something, then wait until the thing (a session, a registration) is in that state; its end instead is a failure.
  reach(thing, wanted, action) {
    return new Promise((resolve, reject) => {
      thing.stateChange.addListener((state) => {
        if (state === wanted) resolve(state);
        else if (state === "Terminated") reject(new Error(`ended: ${JSON.stringify(this.seen.rejected)}`));
      });
      action().catch(reject);
    });
  }
}

// A bare WebSocket: resolves to "open", or to the close code.
window.knock = (url, protocol) =>
  new Promise((resolve) => {
    const socket = new WebSocket(url, protocol);
    socket.onopen = () => {
      resolve("open");
      socket.close();
    };
    socket.onclose = (event) => resolve(event.code);
  });

// Send one message of a size; resolves to the close code.
window.shout = (url, size) =>
  new Promise((resolve) => {
    const socket = new WebSocket(url, "sip");
    socket.onopen = () => socket.send("x".repeat(size));
    socket.onclose = (event) => resolve(event.code);
  });

window.phone = new Phone();
