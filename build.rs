//! Compiles `proto/` to Rust with protox, so that building Hookline needs no `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

/// In alphabetical order, so that the descriptor set is the same on every machine.
const FILES: [&str; 6] = [
    "hookline/v1/admin.proto",
    "hookline/v1/dead_letter.proto",
    "hookline/v1/event.proto",
    "hookline/v1/source.proto",
    "hookline/v1/subscriber.proto",
    "hookline/v1/subscription.proto",
];

#[expect(clippy::disallowed_methods, reason = "cargo tells build scripts by the environment")]
fn main() -> Result<(), Box<dyn Error>> {
    // Nothing on the protox path prints this by itself.
    println!("cargo::rerun-if-changed=proto/hookline");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;

    // Kept for server reflection, with comments: they show in `grpcurl describe`.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("hookline.v1.bin"), compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure()
        .bytes(".")
        // As the hub keeps metadata: handed on without hashing, and in order.
        .btree_map(".")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
