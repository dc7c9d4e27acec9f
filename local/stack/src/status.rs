//! What runs, one line each.

use reqwest::Client;
use serde::Deserialize;

use crate::output::say;
use crate::{Component, Port, Stack, mariadb, secrets::Secrets};

/// A function as the runtime's registry shows it.
#[derive(Debug, Deserialize)]
struct Function {
    name: String,
    instances: Vec<Instance>,
    queued: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Instance {
    state: String,
    in_flight: u64,
}

/// Prints the components, the functions and what waits; whether everything runs.
///
/// # Errors
/// When a pid file cannot be read.
pub async fn print(stack: &Stack) -> anyhow::Result<bool> {
    let mut complete = true;
    for component in Component::ALL {
        let daemon = stack.daemon(component)?;
        complete &= daemon.is_some();
        let state = if daemon.is_some() {
            "running"
        } else {
            "stopped"
        };
        let pid = daemon
            .map(|daemon| format!("pid {}", daemon.pid()))
            .unwrap_or_default();
        say(format_args!(
            "{component:16} {state:9} {:22} {pid}",
            stack.address(component)
        ));
    }
    let running = stack.running()?;
    if running.contains(&Component::Runtime) {
        print_functions(stack).await;
    }
    if running.contains(&Component::Mariadb) {
        print_outbox(stack).await;
    }
    Ok(complete)
}

async fn print_functions(stack: &Stack) {
    match functions(stack).await {
        Ok(functions) => functions.iter().map(line).for_each(say),
        Err(error) => say(format_args!("functions        unknown   {error}")),
    }
}

async fn functions(stack: &Stack) -> reqwest::Result<Vec<Function>> {
    let url = format!(
        "http://127.0.0.1:{}/functions",
        stack.ports.get(Port::Admin)
    );
    Client::new()
        .get(url)
        .send()
        .await?
        .error_for_status()?
        .json()
        .await
}

async fn print_outbox(stack: &Stack) {
    let pending = async { mariadb::outbox_pending(stack, &Secrets::open(&stack.state)?).await };
    match pending.await {
        Ok(pending) => say(format_args!(
            "outbox           {pending} waiting to be sent"
        )),
        Err(error) => say(format_args!("outbox           unknown   {error}")),
    }
}

fn line(function: &Function) -> String {
    let ready = function
        .instances
        .iter()
        .filter(|instance| instance.state == "ready")
        .count();
    let in_flight: u64 = function
        .instances
        .iter()
        .map(|instance| instance.in_flight)
        .sum();
    let state = match (ready, function.instances.len()) {
        (1.., _) => "ready",
        (0, 1..) => "starting",
        (0, 0) => "idle",
    };
    let Function {
        name,
        instances,
        queued,
    } = function;
    let count = instances.len();
    format!("{name:16} {state:9} instances {count}, in flight {in_flight}, queued {queued}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(json: &str) -> String {
        line(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_function_is_ready_once_one_instance_is() {
        let json = r#"{"name":"capture","queued":3,"instances":[
            {"pid":1,"address":"127.0.0.1:1","state":"starting","inFlight":0},
            {"pid":2,"address":"127.0.0.1:2","state":"ready","inFlight":5}]}"#;
        assert_eq!(
            line_of(json),
            "capture          ready     instances 2, in flight 5, queued 3"
        );
    }

    #[test]
    fn a_function_without_instances_is_idle() {
        let json = r#"{"name":"migrate","queued":0,"instances":[]}"#;
        assert_eq!(
            line_of(json),
            "migrate          idle      instances 0, in flight 0, queued 0"
        );
    }
}
