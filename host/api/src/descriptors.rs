//! Holds the descriptors of every message and service, decoded once.

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(proto::DESCRIPTOR_SET)
        .expect("invariant: the descriptor set is a part of this program and tested to be sound")
});

/// The descriptors of `proto`.
pub(crate) fn pool() -> &'static DescriptorPool {
    &POOL
}

#[cfg(test)]
mod tests {
    #[test]
    fn descriptors_can_be_read() {
        assert!(super::pool().get_service_by_name("flyteidl.service.AdminService").is_some());
    }
}
