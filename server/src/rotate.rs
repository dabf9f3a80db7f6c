//! `stepcast secret rotate`: a new key in front of the former ones, and all secrets under it. It is run where the key file
//! is, beside the server or without it.

use std::path::PathBuf;

use clap::Args;
use store::audit::NewEntry;
use wire::audit::Action;

use crate::{
    backend::open_store_beside,
    config::{
        backend::{self, StoreChoice},
        data_dir::DataDir,
        secrets_key::{MAKE, SecretsKey, SecretsKeyOptions},
    },
    secrets,
};

/// Options of `stepcast secret rotate`.
#[derive(Args)]
pub(crate) struct RotateOptions {
    /// Make no new key: put all secrets under the first one that is there, which was brought to all hosts before.
    #[arg(long)]
    no_new_key: bool,
    /// With PostgreSQL: make a new key although other hosts would lack it, because every process that reads secrets reads this file.
    #[arg(long, conflicts_with = "no_new_key")]
    one_host: bool,
    /// The data folder of the server.
    #[arg(long, env = "STEPCAST_DATA_DIR", default_value = "./stepcast-data")]
    data_dir: PathBuf,
    /// The store of the server, as `stepcast serve` is told it.
    #[arg(long, env = "STEPCAST_STORE", default_value = "sqlite", hide_env_values = true, value_parser = backend::parse::<StoreChoice>)]
    store: StoreChoice,
    /// The keys, as `stepcast serve` is told them.
    #[command(flatten)]
    key: SecretsKeyOptions,
}

/// `stepcast secret rotate`
pub(crate) async fn run(options: RotateOptions) -> Result<(), String> {
    let data_dir = match options.store {
        StoreChoice::Sqlite => DataDir::existing(&options.data_dir)?,
        StoreChoice::Postgres(_) => DataDir::named(&options.data_dir),
    };
    let key = SecretsKey::of(&options.key, &options.store, &data_dir)?;
    // For as long as this runs: of two at once neither would see what the other one adds.
    let file = key.lock()?;
    let former = match &file {
        Some(file) => file.keyring()?,
        None => key.keyring()?,
    };
    let makes_one = !options.no_new_key;
    if makes_one && file.is_none() {
        return Err("the keys are not in a file: put a new one in front of them where STEPCAST_SECRETS_KEY is set, start the server anew, \
                    then use `stepcast secret rotate --no-new-key`"
            .to_owned());
    }
    if makes_one && !options.one_host && matches!(options.store, StoreChoice::Postgres(_)) {
        return Err(format!(
            "with PostgreSQL other hosts may need the keys too, and would lack one that is made here: put a new one in front of the keys on \
             all of them ({MAKE}), then use `stepcast secret rotate --no-new-key`; or say `--one-host` if there is no other"
        ));
    }
    // Before a key is made: without a store that answers nothing would come under it.
    let store = open_store_beside(&options.store, &data_dir).await?;
    let rows = store.secrets().await.map_err(|failure| failure.to_string())?;
    let keyring = match &file {
        Some(file) if makes_one => file.add()?,
        _ => former,
    };
    let all = rows.len();
    let (anew, left) = secrets::reseal(&keyring, rows)?;
    let wanted = anew.len() as u64;
    let entry =
        NewEntry::by_machine(Action::SecretsRotated).detail(format!("{wanted} secrets, key {}", keyring.newest()));
    let done = store.reseal_secrets(anew, entry).await.map_err(|failure| failure.to_string())?;
    println!("{done} of {all} secrets were put under key {}", keyring.newest());
    if done < wanted {
        println!("{} were set or deleted meanwhile and stay as they are", wanted - done);
    }
    for sentence in &left {
        println!("left as it is: {sentence}");
    }
    let former: Vec<&str> = keyring.ids().skip(1).collect();
    // What was set meanwhile may be under a former one.
    let rows = store.secrets().await.map_err(|failure| failure.to_string())?;
    let under_former = rows.iter().filter(|row| row.key_id != keyring.newest()).count();
    if under_former > left.len() {
        println!("{under_former} secrets are under a former key still: run `stepcast secret rotate --no-new-key`");
    } else if !former.is_empty() && under_former == 0 {
        println!(
            "no secret needs the former keys any more ({}): remove their lines{}, but keep them for as long as there are backups from \
             before",
            former.join(", "),
            key.file().map(|file| format!(" from {}", file.display())).unwrap_or_default()
        );
    }
    if left.is_empty() {
        Ok(())
    } else {
        Err(format!("{} secrets could not be decrypted and stay as they are", left.len()))
    }
}
