//! An engine around another one that does what an odd token does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use casemate_engine_port::{
    Engine, EngineError, ImportedKey, KeyHandle, KeySpec, NewMaterial, Place, WrappedMaterial,
};

/// What it says to the material of places that contain this.
pub(crate) type Fails = (&'static str, fn() -> EngineError);

/// What is odd about it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Odd {
    /// Why no new epoch can begin.
    pub(crate) no_rewrap: Option<&'static str>,
    /// What it fails at.
    pub(crate) fails: Option<Fails>,
    /// It gives another key back where it is to wrap one anew.
    pub(crate) loses_keys: bool,
    /// What it does not hold.
    pub(crate) holds_no: Option<KeySpec>,
}

pub(crate) struct OddEngine {
    engine: Arc<dyn Engine>,
    pub(crate) odd: Mutex<Odd>,
    /// How often material was to be wrapped anew.
    pub(crate) asked: AtomicUsize,
    /// The threads on which it was, or on which an epoch was to begin.
    pub(crate) threads: Mutex<Vec<ThreadId>>,
}

impl OddEngine {
    pub(crate) fn around(engine: Arc<dyn Engine>, odd: Odd) -> Arc<Self> {
        let (asked, threads) = (AtomicUsize::new(0), Mutex::default());
        Arc::new(Self { engine, odd: Mutex::new(odd), asked, threads })
    }

    fn odd(&self) -> Odd {
        *self.odd.lock().unwrap()
    }

    fn say(&self, place: &Place) -> Result<(), EngineError> {
        let place = String::from_utf8_lossy(place.as_bytes()).into_owned();
        match self.odd().fails {
            Some((of, say)) if place.contains(of) => Err(say()),
            _ => Ok(()),
        }
    }
}

impl Engine for OddEngine {
    fn name(&self) -> &'static str {
        "odd"
    }

    fn supports(&self, spec: KeySpec) -> bool {
        self.odd().holds_no != Some(spec) && self.engine.supports(spec)
    }

    fn why_not(&self, _: KeySpec) -> &'static str {
        ": it is odd"
    }

    fn generate(&self, spec: KeySpec, place: &Place) -> Result<NewMaterial, EngineError> {
        self.engine.generate(spec, place)
    }

    fn import(&self, key: ImportedKey, place: &Place) -> Result<NewMaterial, EngineError> {
        self.engine.import(key, place)
    }

    fn open(
        &self,
        spec: KeySpec,
        wrapped: &WrappedMaterial,
        place: &Place,
    ) -> Result<Arc<dyn KeyHandle>, EngineError> {
        self.say(place)?;
        self.engine.open(spec, wrapped, place)
    }

    fn rewraps(&self) -> Result<(), &'static str> {
        self.threads.lock().unwrap().push(thread::current().id());
        self.odd().no_rewrap.map_or(Ok(()), Err)
    }

    fn rewrap(
        &self,
        spec: KeySpec,
        wrapped: &WrappedMaterial,
        place: &Place,
    ) -> Result<Option<WrappedMaterial>, EngineError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.threads.lock().unwrap().push(thread::current().id());
        self.say(place)?;
        let again = self.engine.rewrap(spec, wrapped, place)?;
        if again.is_some() && self.odd().loses_keys {
            return Ok(Some(self.engine.generate(spec, place)?.wrapped));
        }
        Ok(again)
    }

    fn random(&self, out: &mut [u8]) -> Result<(), EngineError> {
        self.engine.random(out)
    }
}
