//! Brings the files that are inputs of a job, by HTTP with the job's token, straight to the disk. What comes is verified:
//! a file that is not what was claimed is never given to a step. Blocking code.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use wire::{payload::InputFile, task::Grant};

use crate::again::{self, Failure, Tries};

/// Read at once, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// Where the files of one attempt come from.
pub(crate) struct Downloads {
    base: String,
    token: String,
    agent: ureq::Agent,
}

/// How far a file has come.
struct Coming {
    file: File,
    size: u64,
    digest: Sha256,
}

impl Downloads {
    pub(crate) fn new(grant: &Grant) -> Self {
        let base = format!("{}/api/v1/payloads", grant.upload_url.trim_end_matches('/'));
        Self { base, token: grant.job_token.clone(), agent: again::agent() }
    }

    /// Brings files into a folder, each under its input's name. Ends soon after `stop`.
    ///
    /// # Errors
    /// One sentence, when one of them cannot be had or is not what was claimed.
    pub(crate) fn bring(&self, files: &[InputFile], folder: &Path, stop: &CancellationToken) -> Result<(), String> {
        fs::create_dir_all(folder).map_err(|error| format!("{} could not be made: {error}", folder.display()))?;
        files.iter().try_for_each(|file| {
            self.bring_one(file, &path(folder, file), stop)
                .map_err(|reason| format!("input file {:?} could not be had: {reason}", file.name))
        })
    }

    fn bring_one(&self, input: &InputFile, path: &Path, stop: &CancellationToken) -> Result<(), String> {
        let file = File::create(path).map_err(|error| unwritten(&error))?;
        // Whoever the steps run as; nobody else comes as far as its folder.
        file.set_permissions(Permissions::from_mode(0o644)).map_err(|error| unwritten(&error))?;
        let mut coming = Coming { file, size: 0, digest: Sha256::new() };
        if input.check.size > 0 {
            again::until(Tries::of(&input.name, again::UNREACHED_MAX, stop), || self.go_on(input, &mut coming, stop))
                .map_err(again::GivenUp::reason)?;
        }
        let sha256: String = coming.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        input.check.verify(coming.size, &sha256)
    }

    /// Asks for what is missing. The whole is verified here: a part is given as it is.
    fn go_on(&self, input: &InputFile, coming: &mut Coming, stop: &CancellationToken) -> Result<(), Failure> {
        let request = self
            .agent
            .get(format!("{}/{}", self.base, input.check.reference))
            .header("Authorization", format!("Bearer {}", self.token))
            .header("Range", format!("bytes={}-", coming.size));
        let answer = request.call().map_err(|error| Failure::Unreached(error.to_string()))?;
        if answer.status() != 206 {
            return Err(again::refusal(answer));
        }
        let mut body = answer.into_body().into_with_config().limit(u64::MAX).reader();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            if stop.is_cancelled() {
                return Err(Failure::Lasting("the job was stopped".to_owned()));
            }
            let count = match body.read(&mut piece) {
                Ok(0) if coming.size < input.check.size => {
                    return Err(Failure::Passing(format!("it broke off at byte {}", coming.size)));
                }
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::Unreached(format!("it broke off: {error}"))),
            };
            coming.file.write_all(&piece[..count]).map_err(|error| Failure::Lasting(unwritten(&error)))?;
            coming.digest.update(&piece[..count]);
            coming.size += count as u64;
            if coming.size > input.check.size {
                return Ok(()); // Told apart by its size.
            }
        }
    }
}

/// Where a file is.
pub(crate) fn path(folder: &Path, file: &InputFile) -> PathBuf {
    folder.join(&file.name)
}

fn unwritten(error: &io::Error) -> String {
    format!("it could not be written: {error}")
}
