//! What came of each protection, in words an operator can use.

/// One protection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measure {
    /// Its name.
    pub name: &'static str,
    /// Whether it protects this process.
    pub active: bool,
    /// In which form, or why not.
    pub state: String,
    /// What to do to have it.
    pub advice: Option<&'static str>,
}

/// All protections of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    measures: Vec<Measure>,
}

impl Measure {
    pub(crate) fn active(name: &'static str, state: impl Into<String>) -> Self {
        Self { name, active: true, state: state.into(), advice: None }
    }

    pub(crate) fn missing(
        name: &'static str,
        state: impl Into<String>,
        advice: &'static str,
    ) -> Self {
        Self { name, active: false, state: state.into(), advice: Some(advice) }
    }
}

impl Report {
    /// Each protection, in the order in which they were set.
    #[must_use]
    pub fn measures(&self) -> &[Measure] {
        &self.measures
    }

    /// Name and state of each, as the channel carries them; a missing one says so and what to do.
    #[must_use]
    pub fn facts(&self) -> Vec<(String, String)> {
        self.measures.iter().map(|measure| (measure.name.to_owned(), measure.text())).collect()
    }

    pub(crate) fn add(&mut self, measure: Measure) {
        self.measures.push(measure);
    }
}

impl Measure {
    fn text(&self) -> String {
        match (self.active, self.advice) {
            (true, _) => format!("active: {}", self.state),
            (false, Some(advice)) => format!("NOT active: {}; {advice}", self.state),
            (false, None) => format!("NOT active: {}", self.state),
        }
    }
}
