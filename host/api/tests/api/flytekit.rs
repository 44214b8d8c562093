//! Lets the stock flytekit register, fetch, list and start things. Needs a Python with flytekit, named by
//! `PINION_TEST_PYTHON`; without it the test says so and passes.

use std::process::Stdio;

use super::world::world;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_flytekit_registers_and_reads() {
    let Ok(python) = std::env::var("PINION_TEST_PYTHON") else {
        eprintln!("skipped: PINION_TEST_PYTHON is not set");
        return;
    };
    let world = world().await;
    let home = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/flytekit_client.py");
    let output = tokio::process::Command::new(python)
        .arg(script)
        .current_dir(home.path())
        .env("HOME", home.path())
        .env("FLYTE_PLATFORM_URL", &world.address)
        .env("FLYTE_PLATFORM_INSECURE", "true")
        .env("FLYTE_AWS_ENDPOINT", format!("http://{}", world.address))
        .env("FLYTE_AWS_ACCESS_KEY_ID", "minio")
        .env("FLYTE_AWS_SECRET_ACCESS_KEY", "miniostorage")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("all claims hold"), "{stdout}\n{stderr}");
}
