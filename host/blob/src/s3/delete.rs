//! Deletes one object, or many at once.

use super::{
    Answer, Call, Endpoint, S3Error,
    bucket::no_content,
    object::small_body,
    xml::{self, Xml},
    xml_answer,
};
use crate::{DataReference, SCHEME, store::blocking};

/// Most keys in one request, as in S3.
const MAX_KEYS: usize = 1000;

/// Deletes an object; a missing one is as good.
pub(super) fn object(endpoint: &Endpoint, r: &DataReference) -> Answer {
    endpoint.local.delete(r)?;
    Ok(no_content())
}

/// Deletes the objects that the body names.
pub(super) async fn objects(endpoint: &Endpoint, bucket: &str, call: Call) -> Answer {
    let request = xml::records(&small_body(call).await?, "Object")?;
    if request.items.len() > MAX_KEYS {
        return Err(S3Error::malformed_xml("at most 1000 keys can be deleted at once"));
    }
    let is_quiet = request.others.get("Quiet").is_some_and(|quiet| quiet.trim() == "true");
    let (local, bucket) = (endpoint.local.clone(), bucket.to_owned());
    let outcomes = blocking(move || {
        let delete = |key: String| {
            let deleted = DataReference::new(SCHEME, &bucket, &key).and_then(|r| local.delete(&r));
            (key, deleted)
        };
        Ok(request
            .items
            .into_iter()
            .filter_map(|mut item| item.remove("Key"))
            .map(delete)
            .collect::<Vec<_>>())
    })
    .await?;
    let mut xml = Xml::root("DeleteResult");
    for (key, deleted) in outcomes {
        match deleted {
            Ok(()) if is_quiet => {}
            Ok(()) => drop(xml.open("Deleted").leaf("Key", key).close("Deleted")),
            Err(error) => {
                let error = S3Error::from(error);
                xml.open("Error").leaf("Key", key).leaf("Code", error.code);
                xml.leaf("Message", error.message).close("Error");
            }
        }
    }
    xml.close("DeleteResult");
    Ok(xml_answer(xml.finish()))
}
