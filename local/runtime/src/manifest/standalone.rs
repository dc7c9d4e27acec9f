//! The manifest of `serve -- COMMAND…`: one function, which gets every request.

use std::collections::BTreeMap;

use anyhow::{Context, anyhow};

use super::{Declaration, Manifest};

const NAME: &str = "AWS_LAMBDA_FUNCTION_NAME";
const MEMORY_MB: &str = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE";
/// Not a variable of AWS's own; its Runtime Interface Emulator reads it.
const TIMEOUT_S: &str = "AWS_LAMBDA_FUNCTION_TIMEOUT";
const CONCURRENCY: &str = "AWS_LAMBDA_MAX_CONCURRENCY";
/// As of AWS's Runtime Interface Emulator.
const DEFAULT_TIMEOUT_S: u64 = 300;

impl Manifest {
    /// A manifest in which `command` is the only function. `environment` describes it as AWS would,
    /// and is handed on to it, but for what the runtime itself says.
    ///
    /// # Errors
    /// If `concurrency` or a variable has a value that a manifest may not have.
    pub(crate) fn standalone(
        command: &[String],
        concurrency: Option<u32>,
        environment: &BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        let name = environment.get(NAME).map_or("function", String::as_str);
        let concurrency = match concurrency {
            Some(concurrency) => Some(concurrency.into()),
            None => number(environment, CONCURRENCY)?,
        };
        let timeout_s = number(environment, TIMEOUT_S)?.unwrap_or(DEFAULT_TIMEOUT_S);
        let members = [
            concurrency.map(|number| format!("concurrency = {number}\n")),
            number(environment, MEMORY_MB)?.map(|number| format!("memory_mb = {number}\n")),
        ];
        let text = format!(
            "[functions.{name:?}]\ncommand = ['-']\nroutes = ['ANY /', 'ANY /{{path+}}']\n\
             timeout_s = {timeout_s}\n{}",
            members.into_iter().flatten().collect::<String>()
        );
        let mut manifest = Self::parse(&text, &|_| None).map_err(|faults| {
            let faults: Vec<String> = faults.into_iter().map(|fault| fault.message).collect();
            anyhow!(faults.join("\n"))
        })?;
        manifest.standalone = true;
        for Declaration { config, .. } in manifest.functions.values_mut() {
            config.command = command.to_vec();
            config.environment.extend(environment.clone());
            config.environment.retain(|name, _| is_the_functions(name));
        }
        Ok(manifest)
    }
}

fn number(environment: &BTreeMap<String, String>, name: &str) -> anyhow::Result<Option<u64>> {
    let text = environment.get(name);
    text.map(|text| text.parse())
        .transpose()
        .with_context(|| format!("{name} must be a number"))
}

/// Whether a variable is none that the runtime sets itself, whatever others say.
pub(crate) fn is_the_functions(name: &str) -> bool {
    let runtimes = name.starts_with("AWS_LAMBDA_") && !name.starts_with("AWS_LAMBDA_LOG_");
    !runtimes && name != "LOCAL_LAMBDA_METRICS_ADDR"
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn standalone(
        variables: &[(&str, &str)],
        concurrency: Option<u32>,
    ) -> anyhow::Result<Manifest> {
        let environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Manifest::standalone(&["a ${b}".to_owned()], concurrency, &environment.collect())
    }

    #[test]
    fn the_environment_describes_the_function_and_is_handed_on() {
        let variables = [
            (NAME, "pay"),
            (MEMORY_MB, "512"),
            (TIMEOUT_S, "9"),
            (CONCURRENCY, "4"),
            ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
            ("AWS_REGION", "eu-west-1"),
            ("COLOR", "${red}"),
        ];
        let manifest = standalone(&variables, None).expect("valid");
        let function = &manifest.functions["pay"].config;
        assert_eq!(function.command, ["a ${b}"]);
        assert_eq!((function.memory_mb, function.concurrency), (512, Some(4)));
        assert_eq!(function.timeout, Duration::from_secs(9));
        let kept: Vec<&str> = function.environment.keys().map(String::as_str).collect();
        assert_eq!(kept, ["AWS_LAMBDA_LOG_FORMAT", "AWS_REGION", "COLOR"]);
        assert_eq!(function.environment["COLOR"], "${red}");
    }

    #[test]
    fn without_a_description_it_is_sequential_and_may_take_five_minutes() {
        let manifest = standalone(&[], None).expect("valid");
        let function = &manifest.functions["function"].config;
        assert_eq!(function.concurrency, None);
        assert_eq!(function.timeout, Duration::from_mins(5));
    }

    #[test]
    fn the_option_overrides_the_variable_and_is_checked() {
        let manifest = standalone(&[(CONCURRENCY, "4")], Some(8)).expect("valid");
        assert_eq!(manifest.functions["function"].config.concurrency, Some(8));
        for (variable, value, part) in [
            (CONCURRENCY, "1601", "outside of 1 to 1600"),
            (MEMORY_MB, "much", "must be a number"),
            (NAME, "a b", "function name"),
        ] {
            let error = standalone(&[(variable, value)], None).expect_err(variable);
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
    }
}
