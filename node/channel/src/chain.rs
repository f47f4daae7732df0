//! How the processes of a node say why something failed.

use std::error::Error;

/// An error with its causes, in one line.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner(#[source] io::Error);

    #[test]
    fn every_cause_is_named_once_in_order() {
        let error = Outer(Inner(io::Error::other("the disk")));
        assert_eq!(chain(&error), "outer: inner: the disk");
        assert_eq!(chain(&io::Error::other("alone")), "alone");
    }
}
