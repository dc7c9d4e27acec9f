use super::*;

fn parse(text: &str) -> Result<Manifest, Vec<Fault>> {
    Manifest::parse(text, &|name| {
        (name == "HOST").then(|| "db.example".to_owned())
    })
}

fn faults(text: &str) -> Vec<(usize, String)> {
    let faults = parse(text).expect_err("the manifest has faults");
    faults
        .into_iter()
        .map(|fault| (fault.line, fault.message))
        .collect()
}

#[test]
fn function_takes_defaults_and_expands_variables() {
    let manifest = parse(
        r#"
[defaults]
timeout_s = 6
environment = { RUST_LOG = "info", COLOR = "red" }

[functions.a]
command = ["bin/a", "--host=${HOST}"]
routes = ["GET /a/{id}", "ANY /b/{rest+}"]
environment = { COLOR = "blue", URL = "mysql://${HOST}/x" }
"#,
    )
    .expect("valid");
    let Declaration {
        config: function,
        routes,
        ..
    } = &manifest.functions["a"];
    assert_eq!(function.command, ["bin/a", "--host=db.example"]);
    assert_eq!(function.timeout, Duration::from_secs(6));
    assert_eq!(function.environment["COLOR"], "blue");
    assert_eq!(function.environment["RUST_LOG"], "info");
    assert_eq!(function.environment["URL"], "mysql://db.example/x");
    assert_eq!(routes[1].shape(), "/b/{*0}");
    assert_eq!((function.min_instances, function.max_instances), (1, 1));
    assert_eq!(function.idle, Duration::from_mins(5));
    assert_eq!(function.reserved_concurrency, None);
    assert_eq!(function.concurrency, None);
}

#[test]
fn every_fault_is_reported_with_its_line() {
    let found = faults(
        r#"[functions.a]
command = ["a"]
timeout_s = "six"
colour = 1
environment = { AWS_REGION = "x", URL = "${MISSING}" }
secrets = { KEY = "/does/not/exist" }

[functions.b]
command = []
min_instances = 3
max_instances = 2
continuous = { wake_on = ["a", "zz"] }
"#,
    );
    let lines: Vec<usize> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [3, 4, 5, 5, 6, 8, 9], "{found:#?}");
    let text = found
        .iter()
        .map(|(_, message)| message.as_str())
        .collect::<Vec<_>>()
        .join("\n");
    for part in [
        "functions.a.timeout_s: invalid type",
        "unknown member functions.a.colour",
        "the variable AWS_REGION is reserved",
        "the variable MISSING is not set",
        "secret KEY: file /does/not/exist does not exist",
        "min_instances is 3, above max_instances, 2",
        "command must name a program",
    ] {
        assert!(text.contains(part), "{part} not in\n{text}");
    }
}

#[test]
fn wake_on_must_name_a_function() {
    let found = faults("[functions.b]\ncommand = ['b']\n[functions.b.continuous]\nwake_on = ['z']");
    assert_eq!(
        found,
        [(4, "wake_on names \"z\", which is no function".to_owned())]
    );
}

#[test]
fn routes_that_match_the_same_requests_are_duplicates() {
    let found = faults(
        "[functions.a]\ncommand=['a']\nroutes=['GET /p/{x}']\n\
         [functions.b]\ncommand=['b']\nroutes=['POST /p/{x}', 'GET /p/{y}']\n",
    );
    assert_eq!(
        found,
        [(6, "route \"GET /p/{y}\": conflicts with line 3".to_owned())]
    );
    let found = faults("[functions.a]\ncommand=['a']\nroutes=['GET /healthz']\n");
    assert_eq!(found.len(), 1, "the runtime answers that itself: {found:?}");
}

#[test]
fn any_may_not_clash_with_a_greedy_path_of_one_method() {
    let found = faults(
        "[functions.a]\ncommand=['a']\nroutes=['GET /{a}/{rest+}']\n\
         [functions.b]\ncommand=['b']\nroutes=['ANY /{all+}']\n",
    );
    assert_eq!(
        found,
        [(6, "route \"ANY /{all+}\": conflicts with line 3".to_owned())]
    );
}

#[test]
fn priority_and_bounds_of_the_queue_are_read_and_checked() {
    let manifest = parse(
        "[defaults]\nqueue_wait_ms=700\npriority='low'\n\
         [functions.a]\ncommand=['a']\nqueue_target_ms=50\npriority='high'\n\
         [functions.b]\ncommand=['b']\n",
    )
    .expect("valid");
    let [a, b] = ["a", "b"].map(|name| &manifest.functions[name].config);
    assert_eq!((a.priority, b.priority), (Priority::High, Priority::Low));
    assert_eq!(a.queue_target, Duration::from_millis(50));
    assert_eq!(b.queue_target, b.queue_wait, "no target unless asked for");

    let found = faults("[functions.a]\ncommand=['a']\npriority='urgent'\nqueue_wait_ms=900001\n");
    let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [3, 4], "{found:?}");
}

#[test]
fn user_is_a_name_or_two_numbers() {
    let manifest = parse(
        "[defaults]\nuser='nobody'\n[functions.a]\ncommand=['a']\n\
         [functions.b]\ncommand=['b']\nuser='1000:100'\n",
    )
    .expect("valid");
    let [a, b] = ["a", "b"].map(|name| manifest.functions[name].config.user.clone());
    assert_eq!(a, Some(User::Named("nobody".to_owned())));
    assert_eq!(
        b,
        Some(User::Numbered {
            uid: 1000,
            gid: 100
        })
    );
    for user in [
        "",
        "1000",
        "1000:",
        ":1",
        "1:2:3",
        "a:b",
        "-1:1",
        "4294967296:1",
    ] {
        let found = faults(&format!("[functions.a]\ncommand=['a']\nuser='{user}'\n"));
        assert_eq!(found.len(), 1, "{user}");
        assert_eq!(found[0].0, 3, "{user}");
    }
}

#[test]
fn function_whose_instances_attach_says_nothing_of_started_ones() {
    let manifest = parse(
        "[defaults]\nmin_instances = 2\nsecrets = { KEY = 'Cargo.toml' }\n\
         [functions.a]\ndriver = 'attach'\n\
         [functions.b]\ndriver = 'attach'\nmax_instances = 3\n",
    )
    .expect("valid");
    let [a, b] = ["a", "b"].map(|name| &manifest.functions[name].config);
    assert!(a.attached && a.command.is_empty() && a.secrets.is_empty());
    assert_eq!((a.min_instances, a.max_instances), (0, INSTANCES_MAX));
    assert_eq!(b.max_instances, 3);

    let found = faults(
        "[functions.a]\ndriver = 'attach'\ncommand = ['a']\nimage = 'a'\nmin_instances = 1\n\
         idle_s = 1\nsecrets = {}\nuser = 'nobody'\n[functions.b]\ncommand = ['b']\ndriver = 'docker'\n",
    );
    let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [3, 4, 5, 6, 7, 8, 11], "{found:?}");
}

#[test]
fn bad_templates_are_refused() {
    for route in [
        "GET",
        "get /a",
        "GET a",
        "GET /{a+}/b",
        "GET /x{a}",
        "GET /{}",
        "GET /{a}/{a}",
        "GET /a b",
    ] {
        let found = faults(&format!(
            "[functions.a]\ncommand=['a']\nroutes=['{route}']\n"
        ));
        assert_eq!(found.len(), 1, "{route}: {found:?}");
        assert_eq!(found[0].0, 3);
    }
}

#[test]
fn schedules_need_one_valid_timing() {
    let head = "[functions.a]\ncommand=['a']\n[[functions.a.schedule]]\n";
    for (body, part) in [
        ("input={}", "either cron or every"),
        ("cron='0 2 * * *'\nevery='1s'", "either cron or every"),
        ("cron='61 2 * * *'", "cron \"61 2 * * *\""),
        (
            "cron='0 2 * * *'\ntimezone='Mars/Base'",
            "no IANA time zone",
        ),
        ("every='soon'", "every: \"soon\""),
        ("every='1ms'", "less than"),
        ("every='1s'\ntimezone='UTC'", "timezone belongs to cron"),
    ] {
        let found = faults(&format!("{head}{body}\n"));
        assert!(found[0].1.contains(part), "{body}: {found:?}");
    }
}

#[test]
fn syntax_errors_carry_their_line() {
    let found = faults("[functions.a]\ncommand = [\"a\"\n");
    assert!(found[0].0 >= 2, "{found:?}");
}

#[test]
fn gateway_and_static_tables_are_read() {
    let manifest = parse(
        "[gateway]\nerrors='problem'\nproblem_type='/p#{code}'\nin_flight_max=9\nconnections_max=7\n\
         [[static]]\nroute='GET /x'\nfile='Cargo.toml'\ncontent_type='text/plain'\n",
    )
    .expect("valid");
    assert_eq!(manifest.gateway.errors, ErrorForm::Problem);
    assert_eq!(manifest.gateway.problem_type, "/p#{code}");
    assert_eq!(manifest.gateway.in_flight_max, Some(9));
    assert_eq!(manifest.gateway.connections_max, 7);
    assert_eq!(manifest.gateway.connections_per_ip_max, 7);
    assert_eq!(manifest.statics[0].route.path, "/x");
}

#[test]
fn route_may_have_bounds() {
    let manifest = parse(
        "[functions.a]\ncommand = ['a']\n\
         routes = ['GET /a', { route = 'POST /b', timeout_ms = 1500, body_bytes_max = 0 }]\n",
    );
    let routes = &manifest.expect("valid").functions["a"].routes;
    assert_eq!(routes[0].bounds.timeout, None);
    assert_eq!(routes[1].key, "POST /b");
    assert_eq!(routes[1].bounds.timeout, Some(Duration::from_millis(1500)));
    assert_eq!(routes[1].bounds.body_bytes_max, Some(0));
    let found = faults(
        "[functions.a]\ncommand = ['a']\n\
         routes = [7,\n{ route = 'GET', timeout_ms = 0 },\n{ timeout = 1 }]\n",
    );
    let expected = [
        (
            3,
            "functions.a.routes must hold strings or tables, not integer",
        ),
        (4, "route \"GET\": must be \"METHOD /path\""),
        (4, "timeout_ms is 0, outside of 1 to 900000"),
        (5, "functions.a.routes.route is missing"),
        (5, "unknown member functions.a.routes.timeout"),
    ];
    let expected = expected.map(|(line, message)| (line, message.to_owned()));
    assert_eq!(found, expected);
}

#[test]
fn a_function_has_a_command_or_an_image() {
    let manifest = parse("[functions.a]\nimage='my/${HOST}:1'\n").expect("valid");
    let function = &manifest.functions["a"].config;
    assert_eq!(function.image.as_deref(), Some("my/db.example:1"));
    assert!(function.command.is_empty());
    let found = faults("[functions.a]\n[functions.b]\nimage='a b'\n");
    assert_eq!(
        found,
        [
            (1, "functions.a.command is missing".to_owned()),
            (3, "\"a b\" is no name of an image".to_owned())
        ]
    );
}

#[test]
fn events_have_bounds_and_destinations() {
    let manifest = parse(
        "[functions.a]\ncommand=['a']\n[functions.a.async]\nmax_retries=0\nmax_age_s=60\nretry_s=5\n\
         queue_max=9\non_success='function://b'\n[functions.b]\ncommand=['b']\n",
    )
    .expect("valid");
    let events = &manifest.functions["a"].sources.asynchronous;
    assert_eq!((events.max_retries, events.queue_max), (0, 9));
    assert_eq!(events.max_age, Duration::from_mins(1));
    assert_eq!(events.retry, Duration::from_secs(5));
    let destination = events.on_success.as_ref().expect("given");
    assert_eq!(*destination.as_ref(), Destination::Function("b".to_owned()));
    let default = &manifest.functions["b"].sources.asynchronous;
    assert_eq!(*default, Asynchronous::default());

    let head = "[functions.a]\ncommand=['a']\n[functions.a.async]\n";
    for (member, part) in [
        ("max_retries=3", "outside of 0 to 2"),
        ("max_age_s=59", "outside of 60 to 21600"),
        (
            "on_failure='b'",
            "must be \"function://NAME\" or \"kafka://TOPIC\"",
        ),
        ("on_failure='function://b'", "is no function"),
        ("on_success='function://a'", "is the function itself"),
        (
            "on_success='kafka://t'",
            "on_success needs the table [kafka]",
        ),
        ("on_success='kafka://a b'", "\"a b\" is no name of a topic"),
        ("on_error='function://b'", "unknown member"),
    ] {
        let found = faults(&format!("{head}{member}\n"));
        assert_eq!(found.len(), 1, "{member}: {found:?}");
        assert!(
            found[0].0 == 4 && found[0].1.contains(part),
            "{member}: {found:?}"
        );
    }
}

#[test]
fn destination_may_be_a_topic_of_the_cluster() {
    let manifest = parse(
        "[kafka]\nbootstrap_servers='k:9092'\n\
         [functions.a]\ncommand=['a']\nasync.on_failure='kafka://t'\n",
    )
    .expect("valid");
    assert_eq!(manifest.bootstrap_servers.as_deref(), Some("k:9092"));
    let events = &manifest.functions["a"].sources.asynchronous;
    let destination = events.on_failure.as_ref().expect("given");
    assert_eq!(*destination.as_ref(), Destination::Topic("t".to_owned()));
}

#[test]
fn records_do_not_go_in_circles() {
    let found = faults(
        "[functions.a]\ncommand=['a']\nasync.on_success='function://b'\n\
         [functions.b]\ncommand=['b']\nasync.on_failure='function://c'\n\
         [functions.c]\ncommand=['c']\nasync.on_success='function://b'\n",
    );
    let expected = [
        (6, "\"function://c\" leads back to b".to_owned()),
        (9, "\"function://b\" leads back to c".to_owned()),
    ];
    assert_eq!(found, expected);
}
