//! Options of a new semaphore.

/// What a new semaphore shall be like, beyond its kind. An existing one keeps what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Options {
    pub(crate) ephemeral: bool,
    pub(crate) signalled: bool,
}

impl Options {
    /// The defaults: the name stays until it is removed.
    pub fn new() -> Options {
        Options::default()
    }

    /// The name goes with the last process that has it open, however that process ends.
    pub fn ephemeral(mut self) -> Options {
        self.ephemeral = true;
        self
    }

    /// An event that is signalled from the beginning. Says nothing for other kinds.
    pub fn signalled(mut self) -> Options {
        self.signalled = true;
        self
    }
}
