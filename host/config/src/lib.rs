//! Loads one layered configuration: defaults, then files, then environment, then flags.
//!
//! In: [`Sources`] and a type, usually the struct of structs that the wiring makes of every room's `Config`. Out: the
//! value with the origin of every key, or all that is wrong with it, each with file and line. The room knows no key:
//! what there is to set is declared by the types of the other rooms, in their field docs.
//!
//! Design notes. Layers come from figment providers or from YAML with its line numbers (`yaml`). They are not merged
//! into one document first, because only the type knows which spellings are the same key, whether a key is a field
//! or data, and that an enum must not be mixed from two layers: reading (`read`) follows the type through all layers
//! at once.

mod error;
mod key;
mod load;
mod origin;
mod read;
mod show;
mod source;
mod tree;
mod value;
mod yaml;

pub use error::{Errors, Problem};
pub use load::{Loaded, load};
pub use origin::Origin;
pub use source::{ENV_PREFIX, Sources};
pub use value::{Duration, ParseDurationError, ParseSizeError, Secret, Size};
