//! Who is woken when a function has answered.

use std::collections::HashMap;
use std::sync::Arc;

use crate::function::Function;

/// Function name → the continuous functions whose `wake_on` names it.
#[derive(Clone, Default)]
pub(crate) struct Wakes(Arc<HashMap<String, Vec<Arc<Function>>>>);

impl Wakes {
    /// Gathers what the functions' manifests say.
    pub(crate) fn of<'a>(functions: impl Iterator<Item = &'a Arc<Function>>) -> Self {
        let mut wakes: HashMap<String, Vec<Arc<Function>>> = HashMap::new();
        for function in functions {
            for name in function
                .config
                .continuous
                .iter()
                .flat_map(|source| &source.wake_on)
            {
                wakes
                    .entry(name.as_ref().clone())
                    .or_default()
                    .push(Arc::clone(function));
            }
        }
        Self(Arc::new(wakes))
    }

    /// The function `name` has answered a request, an invocation or a schedule successfully.
    pub(crate) fn answered(&self, name: &str) {
        for function in self.0.get(name).into_iter().flatten() {
            // A wake nobody waits for yet is kept, and many are one.
            function.wake.notify_one();
        }
    }
}
