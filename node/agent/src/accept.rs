//! The next connection of a listener, until the agent stops. What every listener of the agent
//! shares; who may connect and how many is for each to say.

use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// How long to wait after the system gave no connection: mostly there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Waits for a connection; none comes any more once the agent stops.
pub(crate) async fn next<T, F>(
    accept: impl Fn() -> F,
    stopping: &mut watch::Receiver<bool>,
) -> Option<T>
where
    F: Future<Output = io::Result<T>>,
{
    loop {
        let accepted = tokio::select! {
            accepted = accept() => accepted,
            _ = stopping.wait_for(|stop| *stop) => return None,
        };
        match accepted {
            Ok(connection) => return Some(connection),
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn errors_are_waited_out_and_a_stop_ends_it() {
        let (stop, mut stopping) = watch::channel(false);
        let tries = Cell::new(0);
        let third = || {
            tries.set(tries.get() + 1);
            let tried = tries.get();
            async move { if tried < 3 { Err(io::ErrorKind::Other.into()) } else { Ok(tried) } }
        };
        assert_eq!(next(third, &mut stopping).await, Some(3));
        let never = || std::future::pending::<io::Result<()>>();
        stop.send_replace(true);
        assert_eq!(next(never, &mut stopping).await, None);
        let (nobody, mut stopping) = watch::channel(false);
        drop(nobody);
        assert_eq!(next(never, &mut stopping).await, None, "nobody could stop it any more");
    }
}
