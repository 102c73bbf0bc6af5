//! Queues in a real Redis and in a real Postgres, also behind `PgBouncer`: filled and drained while the daemon scales, away
//! in the middle, and asked what they refuse.

use std::process::Output;

use super::{
    databases::{PASSWORD, PgBouncer, Postgres, Redis},
    process::output,
    scene::{Daemon, Scene},
};

const APP: &str = "my-target-app";
const VALUE: &str = r#"fas_metric_value{app="my-target-app",group="app",metric="depth"}"#;

/// Settings with which a queue alone decides how many machines there are.
const SCALING: &[(&str, &str)] = &[
    ("FAS_APP_NAME", APP),
    ("FAS_CREATED_MACHINE_COUNT", "min(4, ceil(depth / 10))"),
    ("FAS_DESTROY_RUNNING_AFTER", "0s"),
    ("FAS_TIMEOUT", "10s"),
];

fn redis<'a>(url: &'a str, command: &'a str) -> Vec<(&'a str, &'a str)> {
    let of_redis = [
        ("FAS_REDIS_URL", url),
        ("FAS_REDIS_METRIC_NAME", "depth"),
        ("FAS_REDIS_COMMAND", command),
    ];
    [SCALING, &of_redis].concat()
}

fn postgres<'a>(url: &'a str, query: &'a str) -> Vec<(&'a str, &'a str)> {
    let of_postgres = [
        ("FAS_POSTGRES_URL", url),
        ("FAS_POSTGRES_METRIC_NAME", "depth"),
        ("FAS_POSTGRES_QUERY", query),
    ];
    [SCALING, &of_postgres].concat()
}

async fn scene() -> Scene {
    let scene = Scene::new().await;
    scene.add_released_app(APP);
    scene
}

async fn machines(scene: &Scene, count: usize) {
    let what = format!("{count} machines exist");
    scene
        .becomes(&what, |scene| scene.created(APP) == count)
        .await;
}

/// What `eval` says.
async fn eval(scene: &Scene, settings: &[(&str, &str)]) -> String {
    let mut program = scene.program(settings);
    let Output { stdout, stderr, .. } = output(program.args(["eval", "--explain"])).await;
    let text = [stdout, stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// While the metric has no value, nothing is changed and every pass says why.
async fn is_left_alone(scene: &Scene, daemon: &Daemon) {
    daemon.shows(VALUE, |value| value.is_none()).await;
    let failures = r#"fas_pass_errors_total{reason="metric"}"#;
    let before = daemon.series(failures).await;
    daemon.shows(failures, |now| now > before).await;
    let writes = scene.writes();
    scene.passes(3).await;
    assert_eq!(scene.writes(), writes, "no metric, no write");
    assert!(!daemon.log().contains(PASSWORD), "{}", daemon.log());
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_queue_in_redis_is_filled_and_drained_while_the_daemon_scales() {
    let folder = tempfile::tempdir().unwrap();
    let scene = scene().await;
    let server = Redis::start(folder.path()).await;
    let url = server.url("worker");
    let daemon = scene
        .serve(folder.path(), &[], &redis(&url, "LLEN queue:$APP_NAME"))
        .await;

    server.push("queue:my-target-app", 35).await;
    machines(&scene, 4).await;
    server.pop("queue:my-target-app", 20).await;
    machines(&scene, 2).await;
    server.pop("queue:my-target-app", 15).await;
    daemon.shows(VALUE, |value| value == Some(0.0)).await;
    machines(&scene, 1).await;

    let port = server.port();
    server.kill().await;
    is_left_alone(&scene, &daemon).await;
    let expected = format!("cannot connect to Redis at redis://127.0.0.1:{port}: ");
    assert!(daemon.log().contains(&expected), "{}", daemon.log());

    let server = Redis::start_on(folder.path(), port).await;
    server.push("queue:my-target-app", 25).await;
    machines(&scene, 3).await;
    daemon.stop().await;
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn the_answers_of_redis_are_understood_also_with_tls_and_resp3() {
    let folder = tempfile::tempdir().unwrap();
    let scene = scene().await;
    let server = Redis::start(folder.path()).await;
    server.push("queue:a", 7).await;
    server.say(&["SET", "number", "2.5"]).await;
    server.say(&["SET", "word", "many"]).await;
    server.say(&["HSET", "counts", "depth", "12"]).await;
    server
        .say(&["ZADD", "schedule", "1", "a", "2", "b", "3", "c"])
        .await;
    let (plain, tls, port) = (
        server.url("worker"),
        server.tls_url("worker"),
        server.port(),
    );
    let resp3 = format!("{plain}?protocol=3");
    let wrong = plain.replace(PASSWORD, "hunter2-hunter2");
    let cases = [
        (&plain, "LLEN queue:a", "depth = 7\n"),
        (&resp3, "LLEN queue:a", "depth = 7\n"),
        (&tls, "LLEN queue:a", "depth = 7\n"),
        (&plain, "LLEN nothing", "depth = 0\n"),
        (&plain, "GET number", "depth = 2.5\n"),
        (&resp3, "HGET counts depth", "depth = 12\n"),
        (&plain, "ZCOUNT schedule -inf 2", "depth = 2\n"),
        (&plain, "ZCARD schedule", "depth = 3\n"),
        (&plain, "EXISTS number word nothing", "depth = 2\n"),
        (
            &plain,
            "GET nothing",
            "which has no value: the command returned nil",
        ),
        (
            &resp3,
            "GET nothing",
            "which has no value: the command returned nil",
        ),
        (&plain, "GET word", "expected a number, but found `many`"),
        (&plain, "LLEN word", "Redis refused it: WRONGTYPE"),
        (&plain, "SCARD queue:a", "did not let us in"),
        (&wrong, "LLEN queue:a", "did not let us in"),
    ];
    let certificate = folder.path().join("authority.pem");
    let certificate = certificate.to_str().unwrap();
    for (url, command, expected) in cases {
        let mut settings = redis(url, command);
        settings.push(("SSL_CERT_FILE", certificate));
        let text = eval(&scene, &settings).await;
        assert!(text.contains(expected), "{command}: {text}");
        assert!(
            !text.contains(PASSWORD) && !text.contains("hunter2"),
            "{text}"
        );
    }
    // Nobody vouches for it now.
    let text = eval(&scene, &redis(&tls, "LLEN queue:a")).await;
    let expected = "TLS with Redis at rediss://127.0.0.1:";
    assert!(
        text.contains(expected) && text.contains("SSL_CERT_FILE"),
        "{text}"
    );
    let plain_on_tls = tls.replace("rediss://", "redis://");
    let text = eval(&scene, &redis(&plain_on_tls, "LLEN queue:a")).await;
    assert!(text.contains("depth has no value"), "{text}");
    assert!(server.port() == port);
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_queue_in_postgres_is_filled_and_drained_while_the_daemon_scales() {
    let folder = tempfile::tempdir().unwrap();
    let scene = scene().await;
    let server = Postgres::start(folder.path()).await;
    server.run("CREATE TABLE jobs (app text, state text)").await;
    server.run("GRANT SELECT ON jobs TO worker").await;
    let url = server.url("worker", "?sslmode=disable");
    let query = "SELECT count(*) FROM jobs WHERE state = 'available' AND app = '$APP_NAME'";
    let daemon = scene
        .serve(folder.path(), &[], &postgres(&url, query))
        .await;

    fills_and_drains(&scene, &server, &daemon).await;
    let port = server.port();
    server.stop().await;
    is_left_alone(&scene, &daemon).await;
    let expected = format!("cannot connect to Postgres at postgres://127.0.0.1:{port}/postgres: ");
    assert!(daemon.log().contains(&expected), "{}", daemon.log());

    let server = Postgres::start_on(folder.path(), port).await;
    add(&server, 25).await;
    machines(&scene, 3).await;
    daemon.stop().await;
}

#[tokio::test]
#[ignore = "needs postgres and pgbouncer"]
async fn a_pooler_in_transaction_mode_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let scene = scene().await;
    let server = Postgres::start(folder.path()).await;
    server.run("CREATE TABLE jobs (app text, state text)").await;
    server.run("GRANT SELECT ON jobs TO worker").await;
    let pooler = PgBouncer::start(folder.path(), server.port()).await;
    let url = pooler.url("worker");
    let query = "SELECT count(*) FROM jobs WHERE state = 'available' AND app = '$APP_NAME'";
    let daemon = scene
        .serve(folder.path(), &[], &postgres(&url, query))
        .await;
    fills_and_drains(&scene, &server, &daemon).await;

    // What limits a statement stays with it: the pooler gives the same connection to others.
    let settings = postgres(&url, "SHOW statement_timeout");
    let text = eval(&scene, &settings).await;
    assert!(text.contains("expected a number, but found `"), "{text}");
    let shown = server
        .ask_through(pooler.port(), "SHOW statement_timeout")
        .await;
    assert_eq!(shown.trim(), "0");
    let shown = server
        .ask_through(pooler.port(), "SHOW transaction_read_only")
        .await;
    assert_eq!(shown.trim(), "off");
    daemon.stop().await;
}

async fn fills_and_drains(scene: &Scene, server: &Postgres, daemon: &Daemon) {
    add(server, 35).await;
    machines(scene, 4).await;
    take(server, 20).await;
    machines(scene, 2).await;
    take(server, 15).await;
    daemon.shows(VALUE, |value| value == Some(0.0)).await;
    machines(scene, 1).await;
}

async fn add(server: &Postgres, jobs: usize) {
    let sql = format!(
        "INSERT INTO jobs SELECT '{APP}', 'available' FROM generate_series(1, {jobs}); \
         INSERT INTO jobs VALUES ('{APP}', 'completed'), ('another-app', 'available')"
    );
    server.run(&sql).await;
}

async fn take(server: &Postgres, jobs: usize) {
    let sql = format!(
        "UPDATE jobs SET state = 'completed' WHERE ctid IN \
         (SELECT ctid FROM jobs WHERE state = 'available' AND app = '{APP}' LIMIT {jobs})"
    );
    server.run(&sql).await;
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn the_answers_of_postgres_are_understood_in_every_ssl_mode() {
    let folder = tempfile::tempdir().unwrap();
    let scene = scene().await;
    let server = Postgres::start(folder.path()).await;
    server.run("CREATE TABLE jobs (depth int)").await;
    server.run("CREATE TABLE hidden (depth int)").await;
    server.run("INSERT INTO jobs VALUES (1), (2)").await;
    server.run("GRANT ALL ON jobs TO worker").await;
    let url = |parameters: &str| server.url("worker", parameters);
    let plain = url("?sslmode=disable");
    let wrong = plain.replace(PASSWORD, "hunter2-hunter2");
    let nowhere = plain.replace("/postgres?", "/nowhere?");
    let (prefer, require, verify) = (
        url(""),
        url("?sslmode=require"),
        url("?sslmode=verify-full"),
    );
    let cases = [
        (&plain, "SELECT sum(depth) FROM jobs", "depth = 3\n"),
        (&prefer, "SELECT count(*) FROM jobs", "depth = 2\n"),
        (&require, "SELECT count(*)::int2 FROM jobs", "depth = 2\n"),
        (&verify, "SELECT avg(depth) FROM jobs", "depth = 1.5\n"),
        (&plain, "SELECT 2.5::float8", "depth = 2.5\n"),
        (&plain, "SELECT '7'::text", "depth = 7\n"),
        (
            &plain,
            "WITH a AS (SELECT 4) SELECT * FROM a -- four",
            "depth = 4\n",
        ),
        (
            &plain,
            "SELECT depth FROM jobs WHERE false",
            "the query returned no row",
        ),
        (&plain, "SELECT NULL", "the query returned NULL"),
        (&plain, "SELECT 'NaN'::float8", "the value is NaN"),
        (
            &plain,
            "SELECT depth FROM jobs ORDER BY 1",
            "the query returned 2 rows, but one value is needed: 1, 2",
        ),
        (
            &plain,
            "SELECT 1, 2",
            "the query returned a row of 2 columns",
        ),
        (&plain, "SELECT true", "expected a number, but found `t`"),
        (
            &plain,
            "SELECT repeat('1', 5000000)",
            "the answer is larger than 1048576 bytes",
        ),
        (
            &plain,
            "SELECT * FROM nothing",
            "Postgres refused it: relation \"nothing\" does not exist",
        ),
        (&plain, "SELECT * FROM hidden", "did not let us in"),
        (
            &plain,
            "WITH a AS (DELETE FROM jobs RETURNING 1) SELECT count(*) FROM a",
            "in a read-only transaction",
        ),
        (
            &plain,
            "SELECT pg_sleep(60)",
            "canceling statement due to statement timeout",
        ),
        (&wrong, "SELECT 1", "did not let us in"),
        (
            &nowhere,
            "SELECT 1",
            "refused the connection: database \"nowhere\" does not exist",
        ),
    ];
    let certificate = folder.path().join("authority.pem");
    let certificate = certificate.to_str().unwrap();
    for (url, query, expected) in cases {
        let mut settings = postgres(url, query);
        settings.push(("SSL_CERT_FILE", certificate));
        let text = eval(&scene, &settings).await;
        assert!(text.contains(expected), "{query}: {text}");
        assert!(
            !text.contains(PASSWORD) && !text.contains("hunter2"),
            "{text}"
        );
    }
    let text = eval(&scene, &postgres(&verify, "SELECT 1")).await;
    assert!(text.contains("TLS with Postgres at"), "{text}");
    let text = eval(&scene, &postgres(&require, "SELECT 1")).await;
    assert!(text.contains("depth = 1\n"), "{text}");
    assert_eq!(server.ask("SELECT count(*) FROM jobs").await.trim(), "2");
}
