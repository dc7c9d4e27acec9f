//! What an instance is told by its environment.

use crate::instance::Instance;
use crate::manifest::FunctionConfig;
use crate::program::SEARCHED;

const REGION: &str = "ap-northeast-2";

/// The environment of an instance: AWS's, then the manifest's, and nothing of the runtime's own.
pub(super) fn environment(config: &FunctionConfig, instance: &Instance) -> Vec<(String, String)> {
    let name = &config.name;
    let mut variables: Vec<(String, String)> = [
        ("AWS_LAMBDA_RUNTIME_API", instance.address.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        (
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
            config.memory_mb.to_string(),
        ),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}")),
        ("AWS_LAMBDA_LOG_STREAM_NAME", instance.name.to_string()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        ("_HANDLER", name.clone()),
        ("TZ", ":UTC".to_owned()),
        ("LANG", "en_US.UTF-8".to_owned()),
        ("PATH", SEARCHED.to_owned()),
        (
            "LOCAL_LAMBDA_METRICS_ADDR",
            instance.metrics_address().to_string(),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    // Its mere presence makes some clients poll many times at once.
    if let Some(concurrency) = config.concurrency {
        variables.push((
            "AWS_LAMBDA_MAX_CONCURRENCY".to_owned(),
            concurrency.to_string(),
        ));
    }
    variables.extend(config.environment.clone());
    variables
}
