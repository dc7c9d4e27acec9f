use crate::{Testbed, until};

/// A process of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its process.
    pub pid: i32,
    /// Calls it is running.
    pub in_flight: u64,
}

impl Testbed {
    /// A function's only instance; `None` before it asks for its first call.
    pub async fn instance(&self, function: &str) -> Option<Instance> {
        let functions = self.admin("functions").await;
        let listed = functions.as_array().expect("a list");
        let found = listed.iter().find(|listed| listed["name"] == function)?;
        let instance = found["instances"].get(0)?;
        let pid = instance["pid"].as_i64().expect("an instance has a pid");
        (instance["state"] == "ready").then(|| Instance {
            pid: i32::try_from(pid).expect("a pid"),
            in_flight: instance["inFlight"].as_u64().expect("a number of calls"),
        })
    }

    /// The process of a function's only instance.
    pub async fn instance_pid(&self, function: &str) -> i32 {
        let instance = self.instance(function).await;
        instance
            .unwrap_or_else(|| panic!("{function} has no instance"))
            .pid
    }

    /// Waits until another process than `pid` is the function's instance.
    pub async fn replaced(&self, function: &str, pid: i32) {
        until("another process of the function", async || {
            let instance = self.instance(function).await;
            instance.is_some_and(|instance| instance.pid != pid)
        })
        .await;
    }
}
