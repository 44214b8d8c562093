//! Checks who gets a place, and what the others are told.

use super::*;

fn pools(size: u32, project_cap: u32, domain_cap: u32) -> Pools {
    let pools = Pools::new(Arc::new(MemoryTokens::default()));
    let pool = ResourcePool { resource_namespace: "db".into(), size, project_cap, domain_cap };
    pools.declare("presto", &pool).unwrap();
    pools
}

async fn ask_at(pools: &Pools, token: &str, project: &str, now_ms: i64) -> TokenStatus {
    let asker = Asker { project, domain: "development", execution: token };
    pools.acquire("db", token, asker, None, now_ms).await.unwrap()
}

async fn ask(pools: &Pools, token: &str, project: &str) -> bool {
    ask_at(pools, token, project, 0).await.granted
}

#[tokio::test]
async fn size_is_never_exceeded() {
    let pools = pools(2, 0, 0);
    assert!(ask(&pools, "a", "p").await && ask(&pools, "b", "p").await);
    assert!(!ask(&pools, "c", "p").await);
    assert!(ask(&pools, "a", "p").await, "a held token is granted again");
    pools.release("db", "a").await.unwrap();
    assert!(ask(&pools, "c", "p").await);
}

#[tokio::test]
async fn first_come_first_served() {
    let pools = pools(1, 0, 0);
    assert!(ask(&pools, "a", "p").await);
    assert!(!ask(&pools, "b", "p").await && !ask(&pools, "c", "p").await);
    pools.release("db", "a").await.unwrap();
    assert!(!ask(&pools, "c", "p").await, "b was first");
    assert!(ask(&pools, "b", "p").await);
}

#[tokio::test]
async fn project_at_its_cap_holds_up_nobody() {
    let pools = pools(3, 1, 0);
    assert!(ask(&pools, "a", "p").await);
    assert!(!ask(&pools, "b", "p").await);
    assert!(ask(&pools, "c", "q").await);
}

#[tokio::test]
async fn request_can_only_tighten_caps() {
    let pools = pools(9, 2, 0);
    let asker = Asker { project: "p", domain: "d", execution: "x" };
    let caps = |cap| Some(ResourceConstraints { project_cap: Some(cap), domain_cap: None });
    assert!(pools.acquire("db", "a", asker, caps(1), 0).await.unwrap().granted);
    assert!(!pools.acquire("db", "b", asker, caps(1), 0).await.unwrap().granted);
    assert!(pools.acquire("db", "b", asker, caps(9), 0).await.unwrap().granted);
    assert!(!pools.acquire("db", "c", asker, caps(9), 0).await.unwrap().granted);
}

#[tokio::test]
async fn waiting_task_is_told_for_what_and_behind_whom() {
    let pools = pools(1, 0, 0);
    for token in ["exec-a", "exec-b", "exec-c"] {
        ask(&pools, token, "p").await;
    }
    let message = ask_at(&pools, "exec-c", "p", 0).await.message;
    let expected =
        "waiting for a token of pool db (size 1): number 2 in line, behind execution exec-b; held by exec-a";
    assert_eq!(message, expected);
}

#[tokio::test]
async fn silent_request_holds_up_nobody() {
    let pools = pools(1, 0, 0);
    assert!(ask(&pools, "a", "p").await && !ask(&pools, "b", "p").await);
    pools.release("db", "a").await.unwrap();
    assert!(!ask_at(&pools, "c", "p", 59_000).await.granted);
    assert!(ask_at(&pools, "c", "p", 61_000).await.granted);
}

#[tokio::test]
async fn undeclared_pool_is_an_error() {
    let asker = Asker { project: "p", domain: "d", execution: "x" };
    let error = pools(1, 0, 0).acquire("nope", "a", asker, None, 0).await.unwrap_err();
    assert!(matches!(error, PoolError::UnknownPool(name) if name == "nope"));
}

#[tokio::test]
async fn conflicting_declaration_names_both_plugins() {
    let pool = ResourcePool { resource_namespace: "db".into(), size: 9, ..Default::default() };
    let error = pools(1, 0, 0).declare("hive", &pool).unwrap_err().to_string();
    assert!(error.contains("presto") && error.contains("hive"), "{error}");
}

#[tokio::test]
async fn tokens_outlive_the_room() {
    let store: Arc<dyn TokenStore> = Arc::new(MemoryTokens::default());
    let pool = ResourcePool { resource_namespace: "db".into(), size: 1, ..Default::default() };
    for expected in [true, false] {
        let pools = Pools::new(Arc::clone(&store));
        pools.declare("presto", &pool).unwrap();
        let token = if expected { "before" } else { "after" };
        assert_eq!(ask(&pools, token, "p").await, expected);
    }
}
