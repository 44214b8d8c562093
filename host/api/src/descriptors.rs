//! Holds the descriptors of every message and service, decoded once.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::DescriptorPool;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(proto::DESCRIPTOR_SET)
        .expect("invariant: the descriptor set is a part of this program and tested to be sound")
});

/// The descriptors of `proto`.
pub(crate) fn pool() -> &'static DescriptorPool {
    &POOL
}

/// As much of `google.protobuf.FileDescriptorSet` as names of methods need.
#[derive(Message)]
struct Files {
    #[prost(message, repeated, tag = "1")]
    files: Vec<File>,
}

#[derive(Message)]
struct File {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "6")]
    services: Vec<Service>,
}

#[derive(Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    methods: Vec<Method>,
}

#[derive(Message)]
struct Method {
    #[prost(string, tag = "1")]
    name: String,
}

/// Shows every service with each of its methods. Unlike the pool, which is for who needs messages, this is cheap enough
/// for every start.
pub(crate) fn each_method(show: &mut impl FnMut(&str, &str)) {
    let files = Files::decode(proto::DESCRIPTOR_SET)
        .expect("invariant: the descriptor set is a part of this program and tested to be sound");
    for file in files.files {
        for service in file.services {
            let name = format!("{}.{}", file.package, service.name);
            service.methods.iter().for_each(|method| show(&name, &method.name));
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn descriptors_can_be_read() {
        assert!(super::pool().get_service_by_name("flyteidl.service.AdminService").is_some());
    }
    #[test]
    fn methods_are_those_of_the_pool() {
        let mut methods = Vec::new();
        super::each_method(&mut |service: &str, method: &str| methods.push(format!("{service}.{method}")));
        methods.sort();
        let services = super::pool().services();
        let all = services.flat_map(|service| service.methods().collect::<Vec<_>>());
        let mut expected: Vec<_> = all.map(|method| method.full_name().to_owned()).collect();
        expected.sort();
        assert_eq!(methods, expected);
    }
}
