//! Ends what the process of an aborted attempt started through the API.
//!
//! Eager tasks are clients: each execution that they start carries the name of theirs as a label. Their process is to
//! end them when it is told to go, but it may not live long enough for that, or its client may not manage it.

use model::ExecutionId;
use store::{AbortOutcome, Filter, FilterFunction, ListQuery};

use crate::clusters::with_causes;
use crate::shared::Shared;
use crate::{backoff, clock};

/// The label, whose value is the name of the execution that the process belongs to. Clients write it.
const LABEL: &str = "eager-exec";
/// Phases of executions that nobody has told to end yet.
const LIVING: [&str; 3] = ["UNDEFINED", "QUEUED", "RUNNING"];
/// How many are ended before the next look.
const PAGE: u32 = 500;

/// The executions that an execution's tasks started.
#[derive(Debug)]
pub(crate) struct Brood {
    pub(crate) parent: ExecutionId,
    /// Why they are to end.
    pub(crate) reason: String,
    /// Who asked for it.
    pub(crate) principal: String,
    /// Whether they end without waiting for their clean-up.
    pub(crate) forced: bool,
}

impl Brood {
    /// Asks all of them to end, as long as it takes; their process is gone, so that there will be no more.
    pub(crate) async fn abort(&self, shared: &Shared) {
        let mut n_tried = 0;
        loop {
            match self.abort_page(shared).await {
                Ok(0) => return,
                Ok(_) => n_tried = 0,
                Err(error) => {
                    let error = with_causes(&error);
                    tracing::warn!(execution = %self.parent, error, "cannot abort what a task started, trying again");
                    let pause = backoff::pause(&shared.config.plugin_calls, n_tried);
                    shared.clock.sleep_until(clock::after(shared.clock.now(), pause)).await;
                    n_tried = n_tried.saturating_add(1);
                }
            }
        }
    }

    /// How many were asked to end.
    async fn abort_page(&self, shared: &Shared) -> Result<usize, store::Error> {
        let ExecutionId { project, domain, name } = &self.parent;
        let cause =
            format!("cascading abort as parent execution id [{name}] aborted, reason [{}]", self.reason);
        let query = ListQuery { filters: self.filters(), limit: PAGE, ..ListQuery::default() };
        let mut n_asked = 0;
        for row in shared.store.execution_list(project, domain, &query).await? {
            let now = shared.clock.now();
            let outcome = if self.forced {
                shared.store.execution_force_abort(&row.id, &cause, &self.principal, now).await?
            } else {
                shared.store.execution_request_abort(&row.id, &cause, &self.principal, now).await?
            };
            n_asked += usize::from(outcome == AbortOutcome::Requested);
        }
        Ok(n_asked)
    }

    fn filters(&self) -> Vec<Filter> {
        let tag = |field: &str, value: &str| Filter {
            entity: Some("execution_tag".to_owned()),
            field: field.to_owned(),
            function: FilterFunction::Eq,
            values: vec![value.to_owned()],
        };
        let living = Filter {
            entity: None,
            field: "phase".to_owned(),
            function: FilterFunction::ValueIn,
            values: LIVING.map(str::to_owned).into(),
        };
        vec![tag("key", LABEL), tag("value", &self.parent.name), living]
    }
}
