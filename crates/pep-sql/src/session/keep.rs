//! What is kept of an answer where policy asks for it: the key is at hand before anything runs.

use super::Session;
use crate::results::{Keeping, ResultsError, ResultsKey};
use countersign_engine::execute::{Clearance, KeptResults};
use std::sync::Arc;

impl Session {
    /// What an answer is kept with, where policy asks for that. `formats` are those of a pipeline's columns.
    pub(super) fn keeping(
        &self,
        clearance: &Clearance,
        formats: Option<Vec<Arc<[i16]>>>,
    ) -> Result<Option<Box<Keeping>>, ResultsError> {
        let Some(most) = clearance.keeps_results() else { return Ok(None) };
        let reference = self.target.results_key.as_ref().ok_or(ResultsError::Key)?;
        let limit = usize::try_from(most).unwrap_or(usize::MAX);
        Ok(Some(Box::new(Keeping::new(ResultsKey::read(reference)?, limit, formats))))
    }

    /// What was kept, sealed for its entry.
    pub(super) fn kept_results(
        &self,
        clearance: &Clearance,
        keeping: Option<Box<Keeping>>,
    ) -> Option<KeptResults> {
        Some(keeping?.seal(clearance.action().id, self.gate.journal().random()))
    }
}
