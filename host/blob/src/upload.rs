//! Names the object of a client upload.
//!
//! The name depends on nothing but the request, so that registering the same code twice gives the same task.

use crate::{Error, reference::check_key};

/// What the directory of an upload is derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadRoot<'a> {
    /// The raw MD5 digest of the content; the directory is its base32 form.
    ContentMd5(&'a [u8]),
    /// A directory name that the client chose (`filename_root`).
    Named(&'a str),
}

/// The key of an upload: `[base/]project/domain/root/filename`.
pub fn upload_key(
    base: &str,
    project: &str,
    domain: &str,
    root: UploadRoot<'_>,
    filename: &str,
) -> Result<String, Error> {
    let root = match root {
        UploadRoot::ContentMd5(md5) => base32(md5),
        UploadRoot::Named(name) => name.trim_matches('/').to_owned(),
    };
    let parts = [base.trim_matches('/'), project, domain, &root, filename.trim_matches('/')];
    let key = parts.into_iter().skip(usize::from(parts[0].is_empty())).collect::<Vec<_>>().join("/");
    check_key(&key)?;
    Ok(key)
}

/// Standard base32 of RFC 4648, upper case, padded.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks(5) {
        let mut group = [0_u8; 8];
        group[3..3 + chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_be_bytes(group);
        let n_letters = (chunk.len() * 8).div_ceil(5);
        for letter_idx in 0..8 {
            if letter_idx < n_letters {
                let index = (bits >> (35 - 5 * letter_idx)) & 31;
                text.push(char::from(ALPHABET[usize::try_from(index).unwrap_or_default()]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_matches_the_rfc() {
        for (text, encoded) in [
            ("", ""),
            ("f", "MY======"),
            ("fo", "MZXQ===="),
            ("foo", "MZXW6==="),
            ("foob", "MZXW6YQ="),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI======"),
        ] {
            assert_eq!(base32(text.as_bytes()), encoded);
        }
    }

    #[test]
    fn same_request_gives_same_key() {
        let md5 = hex::decode("4c6b2991222234ae4579566a1670 c8eb".replace(' ', "")).unwrap();
        let key = || {
            upload_key("", "flytesnacks", "development", UploadRoot::ContentMd5(&md5), "fast.tar.gz").unwrap()
        };
        assert_eq!(key(), key());
        assert!(key().starts_with("flytesnacks/development/JRV"), "{}", key());
        assert!(key().ends_with("======/fast.tar.gz"), "{}", key());
        assert_eq!(
            upload_key("/up/", "p", "d", UploadRoot::Named("root"), "dir/f.txt").unwrap(),
            "up/p/d/root/dir/f.txt"
        );
    }

    #[test]
    fn traversal_is_refused() {
        for (root, filename) in
            [("..", "f"), ("r", "../../f"), ("r", ""), ("", "f"), ("r", "a\0b"), ("r", "%2e%2e/f")]
        {
            assert!(
                upload_key("", "p", "d", UploadRoot::Named(root), filename).is_err(),
                "{root} {filename}"
            );
        }
        assert!(upload_key("", "..", "d", UploadRoot::Named("r"), "f").is_err());
    }
}
