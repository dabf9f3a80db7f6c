//! Where bytes are kept apart: a folder, or a bucket that speaks S3. What is in it is artifacts under `<job>/<artifact>` and
//! payloads under `payloads/<ref>`.

use std::{path::PathBuf, str::FromStr, sync::Arc};

use object_store::{ObjectStore, local::LocalFileSystem};

use crate::config::{ServeOptions, data_dir::DataDir};

/// Which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ObjectsChoice {
    /// The folder of artifacts.
    File,
    /// A bucket, under a prefix that may be empty. Address and keys come by the AWS_* variables.
    S3 { bucket: String, prefix: String },
}

impl FromStr for ObjectsChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "file" {
            return Ok(Self::File);
        }
        let (bucket, prefix) = text
            .strip_prefix("s3://")
            .map(|place| place.split_once('/').unwrap_or((place, "")))
            .filter(|(bucket, _)| !bucket.is_empty())
            .ok_or_else(|| "it must be `file` or s3://bucket/prefix".to_owned())?;
        Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() })
    }
}

/// An object store that is open.
#[derive(Clone)]
pub(crate) struct Objects {
    /// The bytes.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Where they are, if that is a folder.
    pub(crate) folder: Option<PathBuf>,
}

/// The folder of artifacts.
pub(crate) fn folder(options: &ServeOptions, data_dir: &DataDir) -> PathBuf {
    options.artifacts.clone().unwrap_or_else(|| data_dir.artifacts())
}

/// Opens what the options name.
pub(crate) fn open(options: &ServeOptions, data_dir: &DataDir) -> Result<Objects, String> {
    match &options.objects {
        ObjectsChoice::File => {
            let path = folder(options, data_dir);
            let told = |failure: &dyn std::fmt::Display| format!("{} cannot be used: {failure}", path.display());
            std::fs::create_dir_all(&path).map_err(|failure| told(&failure))?;
            let files = LocalFileSystem::new_with_prefix(&path).map_err(|failure| told(&failure))?;
            // The folder of a job goes with its last file.
            Ok(Objects { store: Arc::new(files.with_automatic_cleanup(true)), folder: Some(path) })
        }
        ObjectsChoice::S3 { bucket, prefix } => Ok(Objects { store: s3(bucket, prefix)?, folder: None }),
    }
}

#[cfg(feature = "s3")]
fn s3(bucket: &str, prefix: &str) -> Result<Arc<dyn ObjectStore>, String> {
    let bucket = object_store::aws::AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .build()
        .map_err(|failure| format!("--objects s3://{bucket} cannot be used: {failure}; look at the AWS_* variables"))?;
    if prefix.is_empty() {
        return Ok(Arc::new(bucket));
    }
    Ok(Arc::new(object_store::prefix::PrefixStore::new(bucket, prefix)))
}

#[cfg(not(feature = "s3"))]
fn s3(bucket: &str, _prefix: &str) -> Result<Arc<dyn ObjectStore>, String> {
    Err(format!(
        "--objects s3://{bucket} needs a stepcast that was built with S3 (`--features server/s3`); this one knows `file`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_named_with_a_prefix_or_without() {
        let s3 =
            |bucket: &str, prefix: &str| Ok(ObjectsChoice::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() });
        assert_eq!("file".parse(), Ok(ObjectsChoice::File));
        assert_eq!("s3://ci".parse(), s3("ci", ""));
        assert_eq!("s3://ci/a/b/".parse(), s3("ci", "a/b"));
        for wrong in ["s3://", "s3:///x", "gs://x", "files"] {
            assert!(wrong.parse::<ObjectsChoice>().unwrap_err().contains("s3://bucket/prefix"), "{wrong}");
        }
    }
}
