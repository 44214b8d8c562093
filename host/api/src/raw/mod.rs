//! Carries bytes around the Rust types of messages: what clients send is stored as it arrived, and comes back so.
//!
//! A message read into its type and written again has lost the fields that the type does not have. Therefore `layer`
//! lays the bytes of each request beside the message, for handlers that store parts of it ([`arrived`]), and sends the
//! bytes that a handler made of stored parts ([`Encoded`], [`reply`]) in place of a typed reply. `model::raw` cuts and
//! grafts, `row` puts rows together.
//!
//! # Design notes
//! What arrived comes back byte for byte wherever the host has nothing to change. Where it has, the changed message is
//! written anew with the unknown fields of its place: ids that differ from the request's, nodes of workflows that
//! compiling rewrites, launch plan inputs that are completed, settings of executions that are resolved. Fields of a
//! `TaskSpec` or `WorkflowSpec` that nobody here knows have no place in replies and are stored beside the row. Unknown
//! fields of literals that the engine takes apart to build other literals of their parts are dropped.

mod encoded;
mod layer;
mod row;

use bytes::Bytes;
use prost::Message;
use tonic::{Request, Response, Status};

use crate::error::Result;

pub(crate) use encoded::Encoded;
pub(crate) use layer::layer;
pub(crate) use row::{dynamic, execution, launch_plan, task, with_data, workflow, workflow_of_list};

/// The bytes of a request's message; an extension of requests.
#[derive(Clone)]
struct Arrived(Bytes);

/// The bytes to send in place of the reply's message, with room for a prefix before them; an extension of replies.
#[derive(Clone)]
struct Reply(Bytes);

/// The bytes of a request's message. A request that did not come through the layer is encoded.
pub(crate) fn arrived<M: Message>(request: &Request<M>) -> Bytes {
    match request.extensions().get::<Arrived>() {
        Some(Arrived(bytes)) => bytes.clone(),
        None => request.get_ref().encode_to_vec().into(),
    }
}

/// Answers with an encoded message. The typed one beside it is empty: the layer sends the bytes.
pub(crate) fn reply<M: Message + Default>(result: Result<Encoded<M>>) -> Result<Response<M>, Status> {
    let mut response = Response::new(M::default());
    response.extensions_mut().insert(Reply(result?.into_framed()));
    Ok(response)
}
