//! What runs, one line each.

use crate::output::say;
use crate::runtime::{self, Function};
use crate::{Component, Stack, mariadb, secrets::Secrets};

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
            "{component:24} {state:9} {:22} {pid}",
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
    match runtime::functions(stack).await {
        Ok(functions) => functions.iter().map(line).for_each(say),
        Err(error) => say(format_args!("functions        unknown   {error}")),
    }
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
    let Function {
        name,
        min_instances,
        instances,
        queued,
    } = function;
    let state = match (instances.len(), min_instances) {
        (1.., _) if function.is_ready() => "ready",
        (1.., _) => "starting",
        (0, 1..) => "down",
        (0, 0) => "idle",
    };
    let addresses: Vec<&str> = instances.iter().map(|it| it.address.as_str()).collect();
    let addresses = addresses.join(",");
    let in_flight: u64 = instances.iter().map(|it| it.in_flight).sum();
    let count = instances.len();
    format!(
        "{name:24} {state:9} {addresses:22} instances {count}, in flight {in_flight}, queued {queued}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(json: &str) -> String {
        line(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_function_is_ready_once_one_instance_is() {
        let json = r#"{"name":"capture","minInstances":2,"queued":3,"instances":[
            {"pid":1,"address":"127.1.2.3:9001","state":"starting","inFlight":0},
            {"pid":2,"address":"127.4.5.6:9001","state":"ready","inFlight":5}]}"#;
        assert_eq!(
            line_of(json),
            "capture                  ready     127.1.2.3:9001,127.4.5.6:9001 instances 2, in flight 5, \
             queued 3"
        );
    }

    #[test]
    fn a_function_without_instances_is_down_unless_it_shall_have_none() {
        for (min, state) in [(0, "idle"), (1, "down")] {
            let json =
                format!(r#"{{"name":"migrate","minInstances":{min},"queued":0,"instances":[]}}"#);
            assert_eq!(
                line_of(&json),
                format!(
                    "migrate                  {state:9} {:22} instances 0, in flight 0, queued 0",
                    ""
                )
            );
        }
    }
}
