//! Microsoft's in-memory Cosmos emulator, served on a port as the service serves it.
