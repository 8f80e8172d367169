//! The wire contract of Hookline: package `hookline.v1`, generated from `proto/hookline/v1`.
//!
//! The `.proto` files are the documentation; start with `subscriber.proto`.
#![warn(missing_docs)]

/// Package `hookline.v1`.
pub mod v1 {
    #![expect(
        unused_qualifications,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        clippy::too_many_lines,
        reason = "generated"
    )]
    tonic::include_proto!("hookline.v1");
}

/// The encoded `FileDescriptorSet` of the package, with comments, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hookline.v1.bin"));
