//! The checked-in code is what the generator writes for `schemas/headroom/v1/capacity.proto`. So nobody needs a protobuf
//! compiler to build Headroom. `HEADROOM_REWRITE_GOLDEN=1` writes the files anew.

use prost::Message;
use std::fs;
use std::path::Path;

const PROTO: &str = "headroom/v1/capacity.proto";

/// The descriptors of the interface, with its comments or without.
fn descriptors(root: &Path) -> protox::Compiler {
    let mut compiler = protox::Compiler::new([root.join("schemas")]).unwrap();
    compiler.include_source_info(true).include_imports(true);
    compiler.open_file(PROTO).unwrap_or_else(|error| panic!("{error:?}"));
    compiler
}

#[test]
fn checked_in_code_is_what_the_generator_writes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let described = descriptors(root).file_descriptor_set();
    let mut plain = described.clone();
    plain.file.iter_mut().for_each(|file| file.source_code_info = None);
    let usual = || tonic_prost_build::configure().build_transport(false);
    let written = |builder: tonic_prost_build::Builder| {
        let dir = tempfile::tempdir().unwrap();
        builder.out_dir(dir.path()).compile_fds(described.clone()).unwrap();
        fs::read(dir.path().join("headroom.v1.rs")).unwrap()
    };
    let messages = usual().build_client(false).build_server(false).btree_map(".");
    let client = usual().build_server(false).extern_path(".headroom.v1", "::headroom::api::grpc::v1");
    for (file, bytes) in [
        ("schemas/headroom/v1/capacity.bin", plain.encode_to_vec()),
        ("src/api/grpc/v1.rs", written(messages)),
        ("tests/it/grpc/client.rs", written(client)),
    ] {
        let path = root.join(file);
        if std::env::var_os("HEADROOM_REWRITE_GOLDEN").is_some() {
            fs::write(&path, &bytes).unwrap();
        }
        assert!(fs::read(&path).unwrap() == bytes, "{file} is not what the generator writes: rewrite it");
    }
}
