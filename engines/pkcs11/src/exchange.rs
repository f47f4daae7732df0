//! Whether the token takes in what a new epoch needs, and lets go of what it does not: found out by
//! doing it, with keys that nothing is ever wrapped under.
//!
//! At the first start of a new epoch the token holds two keys more for a moment, the new wrapping
//! key and the one before it in its earlier form, and then one of them is destroyed. The epoch
//! counts by then: a token that refuses any of that must be known before. So it is tried whenever
//! an epoch is to begin, for a token that had room at the start of the HSM may have none now.

use casemate_engine_port::Secret;
use casemate_engine_soft::random;
use cryptoki::error::Error;
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::Session;

use crate::fault::Fault;
use crate::template::{self, Template};

/// Keys that a new epoch puts into the token before it destroys one.
const KEYS: usize = 2;
/// Length of a key's `CKA_ID`, in bytes.
const ID_BYTES: usize = 16;
/// Length of a key, in bytes.
const KEY_BYTES: usize = 32;

/// Why a token cannot exchange its keys, in words that go on after "so the secret stays".
pub(crate) const NO_ROOM: &str = ": its token must take in two keys more, as secret key objects \
                                  that stay; the operator must make room in it, or look at its log";
pub(crate) const KEEPS: &str = ": its token must let its user destroy a wrapping key; the operator \
                                must look at the rights of the token's user";
pub(crate) const AWAY: &str = ": its token cannot be reached now; try again when it answers";

/// Whether the token does it, or why not; a fault where it cannot be asked.
type Tried = Result<Result<(), &'static str>, Fault>;

/// The objects of a token, as far as this needs them.
pub(crate) trait Objects {
    /// One of them.
    type Object: Copy;

    fn create(&self, template: &[Attribute]) -> Result<Self::Object, Error>;
    fn find(&self, template: &[Attribute]) -> Result<Vec<Self::Object>, Error>;
    fn destroy(&self, object: Self::Object) -> Result<(), Error>;
}

impl Objects for Session {
    type Object = ObjectHandle;

    fn create(&self, template: &[Attribute]) -> Result<ObjectHandle, Error> {
        self.create_object(template)
    }

    fn find(&self, template: &[Attribute]) -> Result<Vec<ObjectHandle>, Error> {
        self.find_objects(template)
    }

    fn destroy(&self, object: ObjectHandle) -> Result<(), Error> {
        self.destroy_object(object)
    }
}

/// Puts two keys in and destroys them, and says why that failed. What a trial that was cut off left
/// there goes first: so a token that keeps them holds two at most.
pub(crate) fn try_out(token: &impl Objects) -> Tried {
    if let Err(why) = clear(token)? {
        return Ok(Err(why));
    }
    let made: Result<Vec<_>, Error> = (0..KEYS).map(|_| create(token)).collect();
    if let Err(why) = clear(token)? {
        return Ok(Err(why));
    }
    match made {
        Ok(_) => Ok(Ok(())),
        Err(error) => because(error, NO_ROOM),
    }
}

/// Destroys what a trial left that was cut off. A start does not depend on it: what stays is told
/// of in the log, and is a refusal when an epoch is to begin.
pub(crate) fn tidy_up(token: &impl Objects) {
    if let Err(fault) = clear(token) {
        tracing::warn!(?fault, "the token was not looked through for keys of a trial");
    }
}

fn create<T: Objects>(token: &T) -> Result<T::Object, Error> {
    let (mut id, mut key) = ([0; ID_BYTES], vec![0; KEY_BYTES]);
    random(&mut id);
    random(&mut key);
    token.create(&Template::trial_key(&id, &Secret::new(key)))
}

/// Destroys them all, and looks whether they have gone.
fn clear(token: &impl Objects) -> Tried {
    let trial_keys = template::trial_keys();
    let destroyed = token.find(&trial_keys).and_then(|found| {
        found.into_iter().try_for_each(|object| token.destroy(object))?;
        Ok(token.find(&trial_keys)?.is_empty())
    });
    match destroyed {
        Ok(true) => Ok(Ok(())),
        Ok(false) => {
            tracing::warn!("the token keeps a key that was destroyed");
            Ok(Err(KEEPS))
        }
        Err(error) => because(error, KEEPS),
    }
}

/// The reason, unless it is only that the token is lost.
fn because(error: Error, why: &'static str) -> Tried {
    let text = error.to_string();
    let fault = Fault::from(error);
    if fault.is_lost_token() {
        return Err(fault);
    }
    tracing::warn!(error = text, "the token does not exchange wrapping keys");
    Ok(Err(why))
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use cryptoki::context::Function;
    use cryptoki::error::RvError;

    use super::*;

    /// A token in memory.
    struct Fake {
        objects: RefCell<Vec<(usize, Vec<Attribute>)>>,
        made: Cell<usize>,
        room: usize,
        on_destroy: OnDestroy,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum OnDestroy {
        Does,
        Refuses,
        OnlySaysSo,
        IsLost,
    }

    impl Fake {
        fn new(room: usize, on_destroy: OnDestroy) -> Self {
            Self { objects: RefCell::default(), made: Cell::new(0), room, on_destroy }
        }

        fn left(&self) -> usize {
            self.objects.borrow().len()
        }
    }

    impl Objects for Fake {
        type Object = usize;

        fn create(&self, template: &[Attribute]) -> Result<usize, Error> {
            if self.left() >= self.room {
                return Err(Error::Pkcs11(RvError::DeviceMemory, Function::CreateObject));
            }
            self.made.set(self.made.get() + 1);
            self.objects.borrow_mut().push((self.made.get(), template.to_vec()));
            Ok(self.made.get())
        }

        fn find(&self, template: &[Attribute]) -> Result<Vec<usize>, Error> {
            let objects = self.objects.borrow();
            let has = |of: &Vec<Attribute>| template.iter().all(|wanted| of.contains(wanted));
            Ok(objects.iter().filter(|(_, of)| has(of)).map(|(number, _)| *number).collect())
        }

        fn destroy(&self, object: usize) -> Result<(), Error> {
            match self.on_destroy {
                OnDestroy::Does => {
                    self.objects.borrow_mut().retain(|(number, _)| *number != object)
                }
                OnDestroy::Refuses => {
                    return Err(Error::Pkcs11(RvError::ActionProhibited, Function::DestroyObject));
                }
                OnDestroy::OnlySaysSo => {}
                OnDestroy::IsLost => {
                    return Err(Error::Pkcs11(RvError::DeviceRemoved, Function::DestroyObject));
                }
            }
            Ok(())
        }
    }

    #[test]
    fn two_keys_are_put_in_at_once_and_nothing_stays() {
        let token = Fake::new(KEYS, OnDestroy::Does);
        let stays = [Attribute::Label(b"another".to_vec())];
        let with_another = Fake::new(KEYS + 1, OnDestroy::Does);
        with_another.create(&stays).unwrap();
        assert_eq!(try_out(&token).unwrap(), Ok(()));
        assert_eq!((token.made.get(), token.left()), (KEYS, 0));
        assert_eq!(try_out(&with_another).unwrap(), Ok(()));
        assert_eq!(with_another.find(&stays).unwrap(), [1], "what is not of the trial is left");
    }

    #[test]
    fn a_token_without_room_for_both_is_known_and_keeps_nothing() {
        for room in 0..KEYS {
            let token = Fake::new(room, OnDestroy::Does);
            assert_eq!(try_out(&token).unwrap(), Err(NO_ROOM), "{room}");
            assert_eq!(token.left(), 0, "{room}");
        }
    }

    #[test]
    fn a_token_that_keeps_keys_is_known_and_does_not_fill_up() {
        for on_destroy in [OnDestroy::Refuses, OnDestroy::OnlySaysSo] {
            let token = Fake::new(100, on_destroy);
            for start in 0..5 {
                assert_eq!(try_out(&token).unwrap(), Err(KEEPS), "{on_destroy:?} {start}");
                assert_eq!(token.left(), KEYS, "{on_destroy:?} {start}");
            }
        }
    }

    #[test]
    fn a_token_that_is_lost_meanwhile_is_no_token_that_refuses() {
        let token = Fake::new(KEYS, OnDestroy::IsLost);
        assert!(matches!(try_out(&token), Err(fault) if fault.is_lost_token()));
    }

    #[test]
    fn what_a_trial_that_was_cut_off_left_goes_at_the_start() {
        let token = Fake::new(100, OnDestroy::Does);
        let stays = [Attribute::Label(b"another".to_vec())];
        token.create(&stays).unwrap();
        for _ in 0..KEYS {
            create(&token).unwrap();
        }
        tidy_up(&token);
        assert_eq!(token.find(&[]).unwrap(), token.find(&stays).unwrap());
        assert_eq!((token.made.get(), token.left()), (KEYS + 1, 1), "and none is made");
    }

    #[test]
    fn what_a_trial_that_was_cut_off_left_goes_first() {
        let token = Fake::new(KEYS, OnDestroy::Does);
        create(&token).unwrap();
        assert_eq!(try_out(&token).unwrap(), Ok(()));
        assert_eq!(token.left(), 0);
    }
}
