use std::sync::Mutex;

use tokio::time::Instant as Clock;

use super::*;
use crate::answer::Answer;
use crate::call::Outcome;
use crate::dispatch::Dispatcher;
use crate::function::{Function, Version};
use crate::instance::Instance;
use crate::manifest::{Declaration, Manifest};
use crate::metrics::Registry;

const IDLE: &str = r#"{"idle":true}"#;
const WORKED: &str = "null";

fn answered(text: &'static str) -> Answer {
    Answer::Whole(Bytes::from_static(text.as_bytes()))
}

/// A continuous function with one instance, played by the test.
struct Played {
    deployment: Arc<Deployment>,
    began: Clock,
}

impl Played {
    fn start() -> Self {
        let manifest = "[functions.relay]\ncommand = ['relay']\ntimeout_s = 900\n\
                        [functions.relay.continuous]\nidle_ms = 20\n";
        let manifest = Manifest::parse(manifest, &|_| None).expect("valid");
        let Declaration {
            config, sources, ..
        } = manifest.functions["relay"].clone();
        let source = sources.continuous.expect("continuous");
        let registry = Arc::new(Registry::new().expect("builds"));
        let dispatcher = Arc::new(Mutex::new(Dispatcher::new(None)));
        let function = Arc::new(Function::new(
            config,
            Version::first(Arc::default(), None),
            registry.function("relay"),
            dispatcher,
        ));
        let address = "127.0.0.1:9".parse().expect("an address");
        function.add_instance(Arc::new(Instance::new("relay", 1, address)));
        let stop = CancellationToken::new();
        let deployment = Arc::new(Deployment::new(function));
        let status = SourceList::new(registry, None).add("relay", "continuous", String::new());
        tokio::spawn(run_continuous(
            Arc::clone(&deployment),
            source,
            status,
            Leased { stop, under: None },
        ));
        Self {
            deployment,
            began: Clock::now(),
        }
    }

    /// Answers the next invocation; when it came, in milliseconds since the start.
    async fn answer(&self, outcome: Outcome, during: impl FnOnce(&Deployment)) -> u128 {
        let function = self.deployment.function();
        let parked = function.park(1).expect("parks");
        let delivery = parked.await.expect("delivered");
        let at = self.began.elapsed().as_millis();
        during(&self.deployment);
        let answered = function.answer(1, delivery.call.id, None, outcome);
        answered.expect("the call is running");
        at
    }
}

#[tokio::test(start_paused = true)]
async fn pause_after_idle_answers_doubles_up_to_the_longest() {
    let played = Played::start();
    let mut times = Vec::new();
    for _ in 0..6 {
        times.push(played.answer(Ok(answered(IDLE)), |_| {}).await);
    }
    assert_eq!(times, [0, 5, 15, 35, 55, 75]);
}

#[tokio::test(start_paused = true)]
async fn work_is_followed_by_the_next_invocation_at_once() {
    let played = Played::start();
    for _ in 0..3 {
        assert_eq!(played.answer(Ok(answered(WORKED)), |_| {}).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn wake_while_running_starts_another_invocation_though_the_answer_is_idle() {
    let played = Played::start();
    played.answer(Ok(answered(IDLE)), |_| {}).await;
    let second = played
        .answer(Ok(answered(IDLE)), |deployment| {
            deployment.wake.notify_one();
        })
        .await;
    assert_eq!(second, 5);
    assert_eq!(
        played.answer(Ok(answered(IDLE)), |_| {}).await,
        5,
        "at once"
    );
    assert_eq!(
        played.answer(Ok(answered(IDLE)), |_| {}).await,
        10,
        "and the pauses begin anew"
    );
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_ever_more_slowly() {
    let played = Played::start();
    let failure = || Err(Failure::Function(Bytes::from_static(b"{}")));
    let mut times = Vec::new();
    for _ in 0..4 {
        times.push(played.answer(failure(), |_| {}).await);
    }
    assert_eq!(times, [0, 100, 300, 700]);
}

#[test]
fn only_an_idle_answer_is_idle() {
    let verdict = |body| Verdict::of(Ok(Bytes::from_static(str::as_bytes(body))));
    assert_eq!(verdict(r#"{"idle":true,"sent":0}"#), Verdict::Idle);
    assert_eq!(verdict(r#"{"idle":false}"#), Verdict::Worked);
    assert_eq!(verdict(r#"{"sent":3}"#), Verdict::Worked);
    assert_eq!(verdict("null"), Verdict::Worked);
    assert_eq!(Verdict::of(Err(Failure::QueueFull)), Verdict::Failed);
}
