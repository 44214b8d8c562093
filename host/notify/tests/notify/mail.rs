//! People that launch plans and rules name get e-mail, through any kind of mail server.

use notify::{Channel, ChannelType, Config, Rule, Tls};
use proto::flyteidl::core::workflow_execution::Phase;
use store::DeliveryState;

use crate::mail_server::{MailServer, Security};
use crate::world::{World, asks, eventually, settings};

fn channel(server: &MailServer) -> Channel {
    Channel {
        r#type: Some(ChannelType::Smtp),
        host: "localhost".to_owned(),
        port: server.port,
        tls: Tls::None,
        from: "Pinion <pinion@example.com>".to_owned(),
        ..Channel::default()
    }
}

fn with_channel(channel: Channel) -> Config {
    let mut config = settings();
    config.timeout = config::Duration::from_secs(5);
    config.channels.insert("mail".to_owned(), channel);
    config
}

#[tokio::test]
async fn whom_a_launch_plan_names_is_told_by_mail() {
    for world in World::all().await {
        let server = MailServer::start(Security::Clear).await;
        let room = world.room(with_channel(channel(&server)));
        let wishes = vec![
            asks(&[Phase::Failed], "email", "ann@example.com"),
            asks(&[Phase::Failed, Phase::Succeeded], "slack", "team@example.slack.com"),
            asks(&[Phase::Failed], "pagerduty", "ann@example.com"),
            asks(&[Phase::Succeeded], "email", "happy@example.com"),
        ];
        let execution = world.launch("a1", wishes).await;
        execution.enters(&[Phase::Running, Phase::Failing, Phase::Failed]).await;
        eventually("both were told", || async { server.mails().len() >= 2 }).await;
        let rows = || async { world.deliveries().await };
        eventually("it is noted", || async {
            rows().await.iter().all(|row| row.state == DeliveryState::Sent)
        })
        .await;
        room.stop().await.unwrap();
        let mut to: Vec<String> = server.mails().iter().flat_map(|mail| mail.to.clone()).collect();
        to.sort();
        assert_eq!(to, ["ann@example.com", "team@example.slack.com"], "each address once");
        let mail = server.mails().into_iter().find(|mail| mail.to == ["ann@example.com"]).unwrap();
        assert_eq!(mail.from, "pinion@example.com");
        assert_eq!(mail.header("From"), "Pinion <pinion@example.com>");
        assert_eq!(mail.header("Subject"), "flows.train failed in p/d (a1)");
        assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
        let body = mail.body();
        for part in ["OutOfLuck", "the dice said <no>", "1m 05s", "flows.train v7"] {
            assert!(body.contains(part), "{part} is not in\n{body}");
        }
        assert!(
            body.replace("=\r\n", "").contains("http://here/console/projects/p/domains/d/executions/a1"),
            "{body}"
        );
        assert_eq!(rows().await.len(), 2);
    }
}

#[tokio::test]
async fn nobody_is_told_of_phases_they_did_not_ask_for() {
    let world = World::new().await;
    let server = MailServer::start(Security::Clear).await;
    let room = world.room(with_channel(channel(&server)));
    let quiet = world.launch("quiet", vec![asks(&[Phase::Aborted], "email", "ann@example.com")]).await;
    quiet.enters(&[Phase::Running, Phase::Succeeded]).await;
    let loud = world.launch("loud", vec![asks(&[Phase::Succeeded], "email", "bob@example.com")]).await;
    loud.enters(&[Phase::Running, Phase::Succeeded]).await;
    eventually("one was told", || async { !server.mails().is_empty() }).await;
    room.stop().await.unwrap();
    assert_eq!(server.mails().len(), 1);
    assert_eq!(server.mails()[0].to, ["bob@example.com"]);
}

#[tokio::test]
async fn mail_servers_are_spoken_to_in_clear_after_starttls_and_in_tls() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    for (security, tls) in
        [(Security::Clear, Tls::None), (Security::Starttls, Tls::Starttls), (Security::Tls, Tls::Tls)]
    {
        let server = MailServer::start(security).await;
        let ca_file = dir.path().join("ca.pem");
        std::fs::write(&ca_file, &server.certificate).unwrap();
        let config = with_channel(Channel {
            tls,
            ca_file,
            username: "pinion".to_owned(),
            password: "s3cret".into(),
            ..channel(&server)
        });
        let room = world.room(config);
        let name = format!("{security:?}").to_lowercase();
        let execution = world.launch(&name, vec![asks(&[Phase::Failed], "email", "ann@example.com")]).await;
        execution.enters(&[Phase::Failed]).await;
        eventually("it was taken", || async { !server.mails().is_empty() }).await;
        room.stop().await.unwrap();
        let mail = server.mails().remove(0);
        assert_eq!(mail.encrypted, security != Security::Clear, "{security:?}");
        assert_eq!(mail.user, Some(("pinion".to_owned(), "s3cret".to_owned())));
    }
}

#[tokio::test]
async fn no_password_goes_to_a_server_that_cannot_prove_itself() {
    let world = World::new().await;
    // Wants TLS, gets a server without; and one whose certificate nobody vouches for.
    for security in [Security::Clear, Security::Starttls] {
        let server = MailServer::start(security).await;
        let mut config = with_channel(Channel {
            tls: Tls::Starttls,
            username: "pinion".to_owned(),
            password: "s3cret".into(),
            ..channel(&server)
        });
        config.retry.max_attempts = 2;
        let room = world.room(config);
        let name = format!("x{security:?}").to_lowercase();
        let execution = world.launch(&name, vec![asks(&[Phase::Failed], "email", "ann@example.com")]).await;
        execution.enters(&[Phase::Failed]).await;
        eventually("it is given up", || async {
            world
                .deliveries()
                .await
                .iter()
                .any(|row| row.execution == name && row.state == DeliveryState::Failed)
        })
        .await;
        room.stop().await.unwrap();
        assert!(server.mails().is_empty());
        let row = world.deliveries().await.pop().unwrap();
        assert!(!row.last_error.contains("s3cret"), "{}", row.last_error);
    }
    let in_clear = Channel {
        r#type: Some(ChannelType::Smtp),
        host: "mail.example.com".to_owned(),
        tls: Tls::None,
        from: "a@b.example".to_owned(),
        username: "u".to_owned(),
        password: "p".into(),
        ..Channel::default()
    };
    let error = with_channel(in_clear).validate().unwrap_err().to_string();
    assert!(error.contains("channels.mail.tls") && error.contains("in clear"), "{error}");
}

#[tokio::test]
async fn a_server_that_repeats_the_password_it_refuses_gives_nothing_away() {
    let world = World::new().await;
    let server = MailServer::start(Security::Clear).await;
    let mut config = with_channel(Channel {
        username: "pinion".to_owned(),
        password: "wr0ng-password".into(),
        ..channel(&server)
    });
    config.retry.max_attempts = 1;
    let room = world.room(config);
    world
        .launch("x", vec![asks(&[Phase::Failed], "email", "ann@example.com")])
        .await
        .enters(&[Phase::Failed])
        .await;
    eventually("it is given up", || async {
        world.deliveries().await.first().is_some_and(|row| row.ended_at.is_some())
    })
    .await;
    let said = room.said();
    room.stop().await.unwrap();
    let row = world.deliveries().await.pop().unwrap();
    assert!(row.last_error.contains("who are you"), "{}", row.last_error);
    // The second is the login as it travels.
    for secret in ["wr0ng-password", "AHBpbmlvbgB3cjBuZy1wYXNzd29yZA=="] {
        assert!(!row.last_error.contains(secret) && !said.contains(secret), "{}\n{said}", row.last_error);
    }
}

#[tokio::test]
async fn a_passing_refusal_is_tried_again_and_a_final_one_is_not() {
    let world = World::new().await;
    let server = MailServer::start(Security::Clear).await;
    server.refuse(&["451 try later", "450 and later"]);
    let room = world.room(with_channel(channel(&server)));
    let wish = || vec![asks(&[Phase::Failed], "email", "ann@example.com")];
    world.launch("a", wish()).await.enters(&[Phase::Failed]).await;
    let ended = |name: &'static str| {
        let world = &world;
        move || async move {
            let rows = world.deliveries().await;
            rows.iter().any(|row| row.execution == name && row.ended_at.is_some())
        }
    };
    eventually("it was taken", ended("a")).await;
    server.refuse(&["550 no such person"]);
    world.launch("b", wish()).await.enters(&[Phase::Failed]).await;
    eventually("it was given up", ended("b")).await;
    room.stop().await.unwrap();
    let rows = world.deliveries().await;
    assert_eq!((rows[0].state, rows[0].attempts), (DeliveryState::Sent, 3));
    assert_eq!((rows[1].state, rows[1].attempts), (DeliveryState::Failed, 1));
    assert!(rows[1].last_error.contains("no such person"), "{}", rows[1].last_error);
    // The repeats carry the same id.
    assert_eq!(server.mails().len(), 1);
    assert!(server.mails()[0].header("Message-ID").ends_with("@example.com>"));
}

#[tokio::test]
async fn a_wish_without_a_mail_server_is_noted_and_can_be_met_later() {
    let world = World::new().await;
    let room = world.room(settings());
    world
        .launch("a", vec![asks(&[Phase::Failed], "email", "ann@example.com")])
        .await
        .enters(&[Phase::Failed])
        .await;
    eventually("it is noted", || async { !world.deliveries().await.is_empty() }).await;
    room.stop().await.unwrap();
    let row = world.deliveries().await.remove(0);
    assert_eq!((row.state, row.attempts), (DeliveryState::Failed, 0));
    assert!(row.last_error.contains("notify.channels"), "{}", row.last_error);
    let server = MailServer::start(Security::Clear).await;
    let room = world.room(with_channel(channel(&server)));
    world.store.delivery_retry(row.id, model::Timestamp::now()).await.unwrap();
    eventually("it was taken", || async { !server.mails().is_empty() }).await;
    room.stop().await.unwrap();
}

#[tokio::test]
async fn rules_of_the_operator_tell_more_people_and_nobody_twice() {
    let world = World::new().await;
    let server = MailServer::start(Security::Clear).await;
    let mut config = with_channel(Channel { to: vec!["ops@example.com".to_owned()], ..channel(&server) });
    let rule = |phases: &[&str], to: &[&str], plans: &[&str]| Rule {
        channel: "mail".to_owned(),
        phases: phases.iter().map(|phase| (*phase).to_owned()).collect(),
        to: to.iter().map(|to| (*to).to_owned()).collect(),
        launch_plans: plans.iter().map(|plan| (*plan).to_owned()).collect(),
        ..Rule::default()
    };
    config.rules = vec![
        rule(&[], &[], &["flows.*"]),
        rule(&["failed", "succeeded"], &["ann@example.com", "bob@example.com"], &[]),
        rule(&["failed"], &["never@example.com"], &["other.*"]),
    ];
    let room = world.room(config);
    let execution = world.launch("a", vec![asks(&[Phase::Failed], "email", "ann@example.com")]).await;
    execution.enters(&[Phase::Failed]).await;
    eventually("all were told", || async { server.mails().len() >= 3 }).await;
    room.stop().await.unwrap();
    let mut to: Vec<String> = server.mails().iter().flat_map(|mail| mail.to.clone()).collect();
    to.sort();
    assert_eq!(to, ["ann@example.com", "bob@example.com", "ops@example.com"]);
}
