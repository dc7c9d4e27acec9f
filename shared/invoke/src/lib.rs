//! Asking another function, by the Invoke API of the runtime: what a service must know of another
//! beyond its events.
//!
//! Source: AWS Lambda API reference, "Invoke". Requests are not signed, which a runtime on this
//! machine does not ask for.

use std::{env, error::Error, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

/// The header of an answer that is an error of the function.
const FUNCTION_ERROR: &str = "x-amz-function-error";

/// Invokes functions; cheap to clone.
#[derive(Clone, Debug)]
pub struct Functions {
    url: String,
    http: reqwest::Client,
}

/// `INVOKE_URL` is not set.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("INVOKE_URL must be the address of the Invoke API")]
pub struct NoUrl;

/// Why a function gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// It did not answer, or not what was expected.
    #[error("{function}: {cause}")]
    Failed {
        /// The function.
        function: String,
        /// Every cause of it.
        cause: String,
    },
    /// It answered with an error of its own.
    #[error("{function} failed: {told}")]
    Function {
        /// The function.
        function: String,
        /// What it told.
        told: String,
    },
}

impl Functions {
    /// Of the runtime at `INVOKE_URL`.
    ///
    /// # Errors
    /// [`NoUrl`].
    pub fn from_env() -> Result<Self, NoUrl> {
        Ok(Self {
            url: env::var("INVOKE_URL").map_err(|_| NoUrl)?,
            http: reqwest::Client::new(),
        })
    }

    /// Asks a function and waits for its answer.
    ///
    /// # Errors
    /// [`InvokeError`].
    pub async fn invoke<A: DeserializeOwned>(
        &self,
        function: &str,
        event: &impl Serialize,
        timeout: Duration,
    ) -> Result<A, InvokeError> {
        let failed = |error: reqwest::Error| InvokeError::Failed {
            function: function.to_owned(),
            cause: causes(&error),
        };
        let url = format!("{}/2015-03-31/functions/{function}/invocations", self.url);
        let request = self.http.post(url).json(event).timeout(timeout);
        let response = request.send().await.map_err(failed)?;
        let response = response.error_for_status().map_err(failed)?;
        if response.headers().contains_key(FUNCTION_ERROR) {
            let told = response.text().await.map_err(failed)?;
            let function = function.to_owned();
            return Err(InvokeError::Function { function, told });
        }
        response.json().await.map_err(failed)
    }
}

fn causes(error: &reqwest::Error) -> String {
    let mut causes = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        causes = format!("{causes}: {cause}");
        source = cause.source();
    }
    causes
}
