//! The built binary tells other systems and people what happened: stock launch plans with notifications, receivers of
//! events over HTTP and in a file, a mail server, and a host that is killed in the middle.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tests::{Options, Server, eventually, finish, python, text};

/// How long something that was committed may take to arrive.
const SOON: Duration = Duration::from_secs(30);

/// What receivers were sent.
#[derive(Clone, Default)]
struct Inbox(Arc<Mutex<Vec<(String, String)>>>);

impl Inbox {
    /// Bodies sent to a path, or mails to an address.
    fn to(&self, to: &str) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.iter().filter(|(place, _)| place == to).map(|(_, body)| body.clone()).collect()
    }

    fn add(&self, to: String, body: String) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((to, body));
    }

    /// The events that arrived over HTTP, repeats included.
    fn events(&self) -> Vec<Value> {
        let lists = self.to("/events").into_iter().map(|body| serde_json::from_str::<Vec<Value>>(&body));
        lists.flat_map(|list| list.expect("a batch is a list of documents")).collect()
    }
}

/// A server that handles one connection after the other, each in a thread. Returns its port.
fn listen(handle: impl Fn(TcpStream) -> Option<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("invariant: loopback has free ports");
    let port = listener.local_addr().expect("invariant: it is bound").port();
    let handle = Arc::new(handle);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handle = Arc::clone(&handle);
            std::thread::spawn(move || handle(stream));
        }
    });
    port
}

fn web_server(inbox: Inbox) -> u16 {
    listen(move |stream| {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if header.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        inbox.add(path, String::from_utf8(body).ok()?);
        let mut stream = stream;
        stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()
    })
}

fn mail_server(inbox: Inbox) -> u16 {
    listen(move |stream| {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut stream = stream;
        let mut to = String::new();
        stream.write_all(b"220 test\r\n").ok()?;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let answer: &[u8] = match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
                "RCPT" => {
                    to = line.split(['<', '>']).nth(1)?.to_owned();
                    b"250 ok\r\n"
                }
                "DATA" => {
                    stream.write_all(b"354 go on\r\n").ok()?;
                    let mut data = String::new();
                    while !data.ends_with("\r\n.\r\n") {
                        reader.read_line(&mut data).ok()?;
                    }
                    inbox.add(to.clone(), data);
                    b"250 taken\r\n"
                }
                "QUIT" => return stream.write_all(b"221 bye\r\n").ok(),
                _ => b"250 ok\r\n",
            };
            stream.write_all(answer).ok()?;
        }
    })
}

/// A settings file, where events go, and what arrives.
struct Setup {
    dir: tempfile::TempDir,
    inbox: Inbox,
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("invariant: a temporary directory");
        let inbox = Inbox::default();
        let (web, mail) = (web_server(inbox.clone()), mail_server(inbox.clone()));
        let settings = format!(
            "notify:
  allow-addresses: [127.0.0.0/8]
  retry: {{ initial: 50ms, max: 500ms }}
  sinks:
    web: {{ type: cloudevents-http, url: \"http://127.0.0.1:{web}/events\", mode: batch, secret: k3yk3y }}
    file: {{ type: file, path: {} }}
  channels:
    mail: {{ type: smtp, host: 127.0.0.1, port: {mail}, tls: none, from: pinion@example.com }}
    chat: {{ type: slack, url: \"http://127.0.0.1:{web}/chat/t0k3n\" }}
  rules:
    - {{ channel: chat, projects: [flyte*], phases: [failed] }}
",
            dir.path().join("events.jsonl").display()
        );
        std::fs::write(dir.path().join("notify.yaml"), settings).expect("invariant: the file can be written");
        Self { dir, inbox }
    }

    fn args(&self) -> Vec<String> {
        vec!["--config".to_owned(), self.dir.path().join("notify.yaml").display().to_string()]
    }

    /// The events in the file.
    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join("events.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// The first arrival of each event about an execution, in order of arrival, as `kind subject PHASE`.
fn story(events: &[Value], execution: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    let about = |event: &&Value| event["partitionkey"] == format!("flytesnacks/development/{execution}");
    let fresh = events.iter().filter(about).filter(|event| seen.insert(event["id"].to_string()));
    let mut last = String::new();
    fresh
        .map(|event| {
            let sequence = event["sequence"].as_str().unwrap_or_default().to_owned();
            assert!(sequence > last, "{execution}: {sequence} came after {last}");
            last = sequence;
            let kind = event["type"].as_str().unwrap_or_default();
            let kind = kind.trim_start_matches("flyteidl.event.").trim_end_matches("ExecutionEvent");
            let subject = event["subject"].as_str().unwrap_or_default();
            let subject = subject.split('/').skip(3).collect::<Vec<_>>().join("/");
            format!("{kind} {subject} {}", event["phase"].as_str().unwrap_or_default())
        })
        .collect()
}

/// What is told of one thing: the phases of `Node n0` and the like.
fn phases<'a>(story: &'a [String], of: &str) -> Vec<&'a str> {
    story.iter().filter_map(|line| line.strip_prefix(of)?.strip_prefix(' ')).collect()
}

fn run_scenario(server: &Server, python: &Path) -> BTreeMap<String, String> {
    let output = finish(server.client(python).arg("events_scenario.py"), Duration::from_secs(300));
    let printed = text(&output);
    assert!(printed.contains("SCENARIO OK"), "{printed}\n{}", server.log());
    let line = printed.lines().find_map(|line| line.strip_prefix("EXECUTIONS ")).unwrap_or_default();
    serde_json::from_str(line).expect("the scenario prints names")
}

/// Checks everything that `events_scenario.py` must have caused.
fn check_scenario(server: &Server, setup: &Setup, names: &BTreeMap<String, String>) {
    let (good, bad, long) = (&names["good"], &names["bad"], &names["long"]);
    let inbox = &setup.inbox;
    eventually("people are told", SOON, || {
        inbox.to("happy@example.com").len() == 1
            && inbox.to("team@example.slack.com").len() == 1
            && inbox.to("oncall@example.pagerduty.com").len() == 2
            && inbox.to("/chat/t0k3n").len() == 1
    });
    let ended = |name: &str, phase: &str| {
        let told = |events: &[Value]| story(events, name).last() == Some(&format!("Workflow  {phase}"));
        told(&inbox.events()) && told(&setup.lines())
    };
    eventually("all ends are told", SOON, || {
        ended(good, "SUCCEEDED") && ended(bad, "FAILED") && ended(long, "ABORTED")
    });
    for events in [inbox.events(), setup.lines()] {
        let good = story(&events, good);
        assert_eq!(phases(&good, "Workflow "), ["QUEUED", "RUNNING", "SUCCEEDED"], "{good:#?}");
        for node in ["n0", "n1"] {
            assert_eq!(
                phases(&good, &format!("Node {node}")),
                ["QUEUED", "RUNNING", "SUCCEEDED"],
                "{good:#?}"
            );
            let tasks = phases(&good, &format!("Task {node}/0"));
            assert_eq!((tasks[0], tasks[tasks.len() - 1]), ("QUEUED", "SUCCEEDED"), "{good:#?}");
            assert!(tasks.contains(&"RUNNING"), "{good:#?}");
        }
        assert_eq!(phases(&good, "Node end-node").last(), Some(&"SUCCEEDED"), "{good:#?}");
        let at = |line: &str| {
            good.iter().position(|other| other == line).unwrap_or_else(|| panic!("{line}: {good:#?}"))
        };
        assert!(at("Node n0 SUCCEEDED") < at("Node n1 QUEUED"), "{good:#?}");
        assert_eq!((at("Workflow  QUEUED"), at("Workflow  SUCCEEDED")), (0, good.len() - 1));

        let bad = story(&events, bad);
        assert_eq!(phases(&bad, "Node n1").last(), Some(&"FAILED"), "{bad:#?}");
        assert_eq!(phases(&bad, "Workflow ").last(), Some(&"FAILED"), "{bad:#?}");
        let long = story(&events, long);
        assert_eq!(phases(&long, "Workflow "), ["QUEUED", "RUNNING", "ABORTING", "ABORTED"], "{long:#?}");
        assert_eq!(phases(&long, "Node n1").last(), Some(&"ABORTED"), "{long:#?}");
    }
    let failed = inbox.to("team@example.slack.com").remove(0);
    for part in ["Subject: ", "no luck <today>", bad.as_str(), "/console/projects/flytesnacks/domains/"] {
        assert!(failed.replace("=\r\n", "").contains(part), "{part} is not in\n{failed}");
    }
    let aborted =
        inbox.to("oncall@example.pagerduty.com").into_iter().find(|mail| mail.contains(long.as_str()));
    assert!(aborted.is_some_and(|mail| mail.contains("it takes too long")));
    let chat = inbox.to("/chat/t0k3n").remove(0);
    assert!(chat.contains("no luck &lt;today&gt;") && chat.contains(bad.as_str()), "{chat}");

    let shown = text(&server.pinion(&["notify", "log"]));
    for part in ["happy@example.com", "oncall@example.pagerduty.com", "chat", bad, long, "sent"] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    let shown = text(&server.pinion(&["notify", "log", "--failed"]));
    assert!(!shown.contains("happy") && !shown.contains("chat"), "{shown}");
    let tried = server.pinion(&["notify", "test", "mail", "--to", "me@example.com"]);
    assert!(tried.status.success() && inbox.to("me@example.com").len() == 1, "{}", text(&tried));
    let retried = server.pinion(&["notify", "retry", "1"]);
    assert!(retried.status.success(), "{}", text(&retried));
    let status = text(&server.pinion(&["notify", "status"]));
    assert!(status.contains("web") && status.contains("file"), "{status}");
    let everything = format!(
        "{}{status}{}",
        server.log(),
        text(&server.pinion(&["config", "show", "--config", &setup.args()[1]]))
    );
    assert!(everything.contains("cloudevents-http"), "the settings are not shown: {everything}");
    assert!(!everything.contains("t0k3n") && !everything.contains("k3yk3y"), "a secret is shown");
    assert!(server.http("/readyz").contains("\"notify\""), "{}", server.http("/readyz"));
    assert!(server.http("/metrics").contains("pinion_notify_events_total"));
}

#[test]
fn what_happened_is_told_to_systems_and_people() {
    let Some(python) = python("what_happened_is_told_to_systems_and_people") else { return };
    let setup = Setup::new();
    let server = Server::start(Options { args: setup.args(), ..Options::default() });
    let names = run_scenario(&server, &python);
    check_scenario(&server, &setup, &names);
}

#[test]
fn what_happened_on_postgres_is_told_alike() {
    let name = "what_happened_on_postgres_is_told_alike";
    let Some(python) = python(name) else { return };
    let Ok(url) = std::env::var("PINION_TEST_POSTGRES_URL") else {
        tests::skip(name, "PINION_TEST_POSTGRES_URL is not set; run by `cargo xtask test`");
        return;
    };
    let setup = Setup::new();
    let mut args = setup.args();
    args.extend(["--set".to_owned(), format!("store.url={}", tests::database::create(&url))]);
    let server = Server::start(Options { args, ..Options::default() });
    let names = run_scenario(&server, &python);
    check_scenario(&server, &setup, &names);
}

#[test]
fn a_host_that_is_killed_loses_no_event() {
    let Some(python) = python("a_host_that_is_killed_loses_no_event") else { return };
    let setup = Setup::new();
    let mut server = Server::start(Options { args: setup.args(), ..Options::default() });
    let pyflyte = python.with_file_name("pyflyte");
    let start = |server: &Server| {
        let args = ["run", "--remote", "events_wf.py", "told", "--x", "4"];
        let output = finish(server.client(&pyflyte).args(args), Duration::from_secs(180));
        let printed = text(&output);
        let name = printed.split("/executions/").nth(1).unwrap_or_default();
        let name: String = name.chars().take_while(char::is_ascii_alphanumeric).collect();
        assert!(!name.is_empty(), "{printed}\n{}", server.log());
        name
    };
    let mut names = Vec::new();
    for pause in [0, 700, 2500] {
        names.push(start(&server));
        std::thread::sleep(Duration::from_millis(pause));
        let data: PathBuf = server.kill();
        server = Server::start(Options { data: Some(data), args: setup.args(), ..Options::default() });
    }
    for name in &names {
        eventually("the end is told", Duration::from_secs(90), || {
            story(&setup.inbox.events(), name).last().is_some_and(|line| line == "Workflow  SUCCEEDED")
                && story(&setup.lines(), name).last().is_some_and(|line| line == "Workflow  SUCCEEDED")
        });
        for events in [setup.inbox.events(), setup.lines()] {
            let story = story(&events, name);
            assert_eq!(phases(&story, "Workflow "), ["QUEUED", "RUNNING", "SUCCEEDED"], "{story:#?}");
            for node in ["n0", "n1"] {
                assert_eq!(
                    phases(&story, &format!("Node {node}")),
                    ["QUEUED", "RUNNING", "SUCCEEDED"],
                    "{story:#?}"
                );
            }
        }
    }
}
