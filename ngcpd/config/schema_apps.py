"""Declared settings: asterisk (voicebox), sems (B2BUA and applications), pbx, prosody, pushd, faxserver, reminder.

Configuration framework C.1.1, C.1.9, C.1.19-21, C.1.25, C.1.29.
"""

from __future__ import annotations

from ngcpd.config.declare import Section, SectionBuilder
from ngcpd.config.types import (
    FACILITY,
    HOST,
    LINE,
    MAIL,
    NAME,
    NAT,
    PATH,
    PORT,
    POS,
    REGEX,
    SIPURI,
    TEXT,
    YN,
    Enum,
    Int,
    List,
    Record,
    Text,
)  # fmt: skip

MEDIA_PORT = Int(1024, 65535)


def _asterisk() -> Section:
    k = SectionBuilder("asterisk", "Voicebox (C.1.1)")
    k("enabled", YN, "yes", "L", "Runs the voicebox")
    k("log.facility", FACILITY, "local6", "L", "Syslog facility")
    k("rtp.minport", MEDIA_PORT, 10000, "I", "First media port; all media use the ports of rtpproxy")
    k("rtp.maxport", MEDIA_PORT, 20000, "I", "Last media port")
    k("sip.bindport", PORT, 5070, "B", "Internal SIP port on sip_int")
    k("sip.dtmfmode", Enum(("rfc2833", "info", "inband", "auto")), "rfc2833", "L", "How digits come")
    k("voicemail.enable", YN, "yes", "L", "Sends a mail for each new message")
    k("voicemail.fromstring", LINE, "Voicemail server", "L", "Name of the sender of these mails")
    k("voicemail.serveremail", MAIL, "voicebox@sip.sipwise.com", "L", "Address of that sender")
    k("voicemail.mailsubject", LINE, "[Voicebox] New message ${VM_MSGNUM} in voicebox ${VM_MAILBOX}", "L",
      "Subject; may use VM_NAME VM_DUR VM_MSGNUM VM_MAILBOX VM_CALLERID VM_DATE")  # fmt: skip
    k(
        "voicemail.mailbody",
        TEXT,
        "You have received a new message from ${VM_CALLERID} in voicebox ${VM_MAILBOX} on ${VM_DATE}.",
        "L",
        "Text of these mails",
    )
    k("voicemail.max_msg_length", NAT, 180, "L", "Longest message, 0 = any", unit="s")
    k("voicemail.min_msg_length", NAT, 3, "L", "Shorter messages are dropped", unit="s")
    k("voicemail.maxgreet", POS, 60, "L", "Longest greeting", unit="s")
    k("voicemail.maxmsg", Int(1, 9999), 30, "L", "Messages in one folder")
    k("voicemail.maxsilence", NAT, 0, "L", "Silence that ends a recording, 0 = none does", unit="s")
    k("voicemail.normalize_match", REGEX, r"^00|\+([1-9][0-9]+)$", "L", "Pattern of the number under which a mailbox is looked up")
    k("voicemail.normalize_replace", NAME, "$1", "L", "What becomes of it")
    for which, words in (("busy", "busy"), ("unavail", "unanswered")):
        k(
            f"voicemail.greeting.{which}_custom_greeting",
            PATH,
            "/home/user/file_no_extension",
            "L",
            f"Greeting of {words} calls, a file without extension",
        )
        k(f"voicemail.greeting.{which}_overwrite_default", YN, "no", "L", "It replaces the stock greeting")
        k(f"voicemail.greeting.{which}_overwrite_subscriber", YN, "no", "L", "It replaces the subscriber's own greeting")
    return k.done()


def _faxserver() -> Section:
    k = SectionBuilder("faxserver", "Fax (C.1.9)")
    k("enable", YN, "yes", "L", "Fax service")
    k("fax_gateways", List(SIPURI), [], "L", "Servers fax calls are sent to, sip:host:port, a /mask after it is ignored")
    k("fail_attempts", POS, 3, "L", "Attempts of an outgoing fax")
    k("fail_retry_secs", POS, 60, "L", "Time between them", unit="s")
    k("mail_from", LINE, "Sipwise NGCP FaxServer <voipfax@ngcp.sipwise.local>", "L", "Sender of fax mails")
    k("hylafax.start", YN, "no", "N", "The older fax engine")
    k("mail2fax.enable", YN, "no", "N", "Takes fax jobs by mail")
    k("mail2fax.port", PORT, 2525, "B", "Port for these mails")
    k("mail2fax.bind", HOST, None, "B", "Address for these mails, none = the ha_int address")
    k("mail2fax.domains", List(HOST), [], "L", "Mail domains that are served")
    k("mail2fax.max_size", POS, 20, "L", "Largest mail", unit="MB")
    k("mail2fax.max_pages", POS, 100, "L", "Longest fax", unit="pages")
    k("mail2fax.reply_on_deny", YN, "no", "L", "Tells the sender why a fax was refused")
    k("t38.enable", YN, "yes", "L", "Offers T.38")
    k("t38.ecm", YN, "yes", "L", "Error correction")
    k("t38.max_rate", Enum(("2400", "4800", "7200", "9600", "12000", "14400")), 14400, "L", "Highest rate", unit="bit/s")
    k("t38.v17", YN, "yes", "L", "Allows V.17")
    k("storage_days", POS, 90, "L", "Documents are kept so long", unit="days")
    k("max_jobs_per_subscriber", POS, 10, "L", "Queued jobs of one subscriber")
    k("debug", YN, "no", "L", "Keeps pictures and captures of fax calls")
    return k.done()


def _pbx() -> Section:
    k = SectionBuilder("pbx", "Cloud PBX (C.1.19)")
    k("enable", YN, "no", "N", "Cloud PBX")
    k("bindport", PORT, 5085, "B", "Internal SIP port", aliases=[".port"])
    k("lowport", MEDIA_PORT, 50001, "I", "First media port; all media use the ports of rtpproxy")
    k("highport", MEDIA_PORT, 55000, "I", "Last media port")
    k("xmlrpcport", PORT, 8095, "B", "Control port")
    k("media_processor_threads", POS, 10, "I", "Threads for media")
    k("session_processor_threads", POS, 10, "I", "Threads for calls")
    return k.done()


def _prosody() -> Section:
    k = SectionBuilder("prosody", "XMPP (C.1.20)")
    k("enabled", YN, "yes", "L", "XMPP service")
    k("ctrl_port", PORT, 5582, "B", "Control port on the loopback address")
    k("log_level", Enum(("debug", "info", "warn", "error")), "info", "L", "Log level")
    return k.done()


def _pushd() -> Section:
    k = SectionBuilder("pushd", "Push messages to mobile devices (C.1.21)")
    apns = Record(
        {"enable": YN, "certificate": PATH, "key": PATH, "endpoint": HOST, "feedback_endpoint": HOST, "feedback_interval": POS, "socket_timeout": NAT}
    )
    gcm = Record({"enable": YN, "key": NAME, "priority": Enum(("high", "normal"))})
    k("enable", YN, "no", "N", "Push service")
    k("port", PORT, 45060, "L", "Internal port", aliases=[".endpoint_port"])
    k("processes", POS, 4, "I", "Worker processes")
    k("ssl", YN, "yes", "L", "TLS on that port")
    k("sslcertfile", PATH, "/etc/ngcp-config/ssl/myserver.crt", "L", "Certificate of that port")
    k("sslcertkeyfile", PATH, "/etc/ngcp-config/ssl/myserver.key", "L", "Its key")
    k("apns.enable", YN, "yes", "L", "Messages to Apple devices")
    k("apns.certificate", PATH, "/etc/ngcp-config/ssl/PushChatCert.pem", "L", "Certificate for Apple")
    k("apns.key", PATH, "/etc/ngcp-config/ssl/PushChatKey.pem", "L", "Its key")
    k("apns.endpoint", HOST, "gateway.push.apple.com", "L", "Apple's server")
    k("apns.feedback_endpoint", HOST, "feedback.push.apple.com", "L", "Apple's feedback server")
    k("apns.feedback_interval", POS, 3600, "L", "Feedback is fetched every so often", unit="s")
    k("apns.socket_timeout", NAT, 0, "L", "Patience with the server, 0 = any", unit="s")
    k("gcm.enable", YN, "yes", "L", "Messages to Android devices")
    k("gcm.key", NAME, "", "L", "Key for the service", secret=True)
    k("gcm.priority", Enum(("high", "normal")), "high", "L", "Priority of messages")
    k("domains", List(Record({"domain": HOST, "enable": YN, "apns": apns, "gcm": gcm}, ("domain",))), [], "L", "Own settings of SIP domains")
    k("one_device_per_subscriber", YN, "no", "L", "Only the newest device of a subscriber")
    k("unique_device_ids", YN, "no", "L", "A device belongs to one subscriber only")
    k("extra_instances", List(TEXT), [], "N", "Further instances of the service")
    return k.done()


def _reminder() -> Section:
    k = SectionBuilder("reminder", "Wake-up calls (C.1.25)")
    k("retries", NAT, 2, "L", "Attempts after an unanswered call")
    k("retry_time", POS, 60, "L", "Time between attempts", unit="s")
    k("wait_time", POS, 30, "L", "How long it rings", unit="s")
    k("sip_fromuser", NAME, "reminder", "L", "User of the From")
    k("sip_fromdomain", HOST, "voicebox.sipwise.local", "L", "Domain of the From")
    k(
        "weekdays",
        Text(r"[1-7](\s*,\s*[1-7])*", "days 1 (Sunday) to 7 (Saturday) joined by ,"),
        "2, 3, 4, 5, 6, 7",
        "L",
        "Days that count as weekdays",
    )
    return k.done()


def _sems() -> Section:
    k = SectionBuilder("sems", "Back-to-back user agent and applications (C.1.29)")
    k("enabled", YN, "yes", "R", "Runs the call engine")
    k("bindport", PORT, 5080, "B", "Internal SIP port", aliases=[".port"])
    k("lowport", MEDIA_PORT, 40001, "I", "First media port; all media use the ports of rtpproxy")
    k("highport", MEDIA_PORT, 50000, "I", "Last media port")
    k("xmlrpcport", PORT, 8090, "B", "Control port")
    k("debug", YN, "no", "L", "Log of the call engine at level debug")
    k("media_processor_threads", POS, 10, "I", "Threads for media")
    k("session_processor_threads", POS, 10, "I", "Threads for calls")
    k("conference.enable", YN, "yes", "L", "Conferences")
    k("conference.max_participants", POS, 10, "L", "Participants of a conference where no preference says otherwise")
    k("prepaid.enable", YN, "yes", "L", "Credit control during calls")
    k("sbc.calltimer_enable", YN, "yes", "L", "Ends calls after calltimer_max")
    k("sbc.calltimer_max", POS, 21600, "L", "Longest call; the smaller of this and kamailio.proxy.dlg_timeout counts", unit="s")
    k("sbc.outbound_timeout", Int(100, 600_000), 6000, "L", "A peer that does not answer an INVITE at all within this is given up", unit="ms")
    k("sbc.sdp_filter.enable", YN, "no", "L", "Filters codecs")
    k("sbc.sdp_filter.mode", Enum(("whitelist", "blacklist")), "whitelist", "L", "Whether the listed codecs stay or go")
    k("sbc.sdp_filter.codecs", NAME, "PCMA,PCMU,telephone-event", "L", "The codecs, joined by ,")
    k("sbc.session_timer.enable", YN, "yes", "L", "Session timers (RFC 4028)")
    k("sbc.session_timer.session_expires", Int(90), 300, "L", "Interval that is asked for", unit="s")
    k("sbc.session_timer.min_timer", Int(90), 90, "L", "Shortest interval that is accepted", unit="s")
    k("sbc.session_timer.max_timer", Int(90), 7200, "L", "Longest interval that is accepted", unit="s")
    k("vsc.enable", YN, "yes", "L", "Vertical service codes")
    code = Text("[0-9*#]{1,16}", "digits, * and #")
    codes = {
        "cfu": (72, "unconditional forward"), "cfb": (90, "forward when busy"), "cft": (92, "forward on no answer"),
        "cfna": (93, "forward when offline"), "speedial": (50, "speed dial"), "reminder": (55, "wake-up call"), "clir": (31, "hidden number"),
        "block_override": (80, "overriding a block list"), "directed_pickup": (99, "directed pickup"), "park": (97, "parking"),
        "unpark": (98, "unparking"),
    }  # fmt: skip
    for name, (default, meaning) in codes.items():
        aliases = [".vsc.speeddial_code"] if name == "speedial" else []
        k(f"vsc.{name}_code", code, default, "L", f"Code of {meaning}, after * or #", aliases=aliases)
    k("vsc.voicemail_number", code, 2000, "L", "Number of the voicebox")
    return k.done()


def sections() -> list[Section]:
    return [_asterisk(), _faxserver(), _pbx(), _prosody(), _pushd(), _reminder(), _sems()]
