"""The resources, by subject: each module has declarations and, beside them, the functions that make them special."""
