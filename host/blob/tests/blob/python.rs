//! Real clients against the embedded S3 endpoint: s3fs, pandas, pyarrow, botocore.
//!
//! They run in the interpreter that `PINION_TEST_PYTHON` names (it needs `s3fs pandas pyarrow`).

use std::process::Stdio;

use tokio::process::Command;

use super::world::world;

#[tokio::test(flavor = "multi_thread")]
async fn python_clients_work() {
    let Ok(python) = std::env::var("PINION_TEST_PYTHON") else {
        println!("skipped: PINION_TEST_PYTHON is not set");
        return;
    };
    let world = world().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/blob/clients.py");
    let output = Command::new(python)
        .arg(script)
        .env("ENDPOINT", &world.s3)
        .env("STORE_DIR", &world.dir)
        .env_remove("AWS_PROFILE")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{stdout}");
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert_eq!(world.leftovers(), Vec::<String>::new());
}
