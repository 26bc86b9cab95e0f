// SPDX-License-Identifier: MIT OR Apache-2.0
//! A bucket of an object store: S3 and what speaks like it, Google Cloud Storage, Azure.
//!
//! An object appears when its content is complete. There is no lock: a channel is replaced on condition
//! that it is still the one that was read, which the store itself checks.

use std::error::Error as _;
use std::io::{self, Read};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientConfigKey, Error, GetOptions, ObjectStore,
    ObjectStoreExt as _, ObjectStoreScheme, PutMode, PutMultipartOptions, PutOptions, RetryConfig,
    UpdateVersion, WriteMultipart,
};
use tokio::runtime::{self, Runtime};

use super::destination::{Destination, Listed};
use crate::error::{Fault, RemoteError};
use crate::fetch::Patience;

/// The length of the parts in which a large file is uploaded; S3 wants 5 MiB or more, and at most 10000.
/// A file that is shorter goes in one request.
const PART_BYTES: usize = 8 << 20;

/// How many parts are on their way at a time. With the one that is read next, they bound the memory.
const PARTS_AT_ONCE: usize = 4;

/// How long one request may take: a part over a line of 30 KB/s.
const REQUEST_TIMEOUT: &str = "300 seconds";

/// How long a connection that is not used is kept. Nobody looks after it while a bundle is made, and
/// servers close theirs after some 20 s.
const POOL_IDLE_TIMEOUT: &str = "5 seconds";

/// How long a request that fails is made again: what it is signed with does not hold for ever.
const RETRY_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// No type that caches compress on their own: devices ask for ranges of what was put.
const CONTENT_TYPE: &str = "application/octet-stream";

/// Of files that never change (docs/format/repository.md).
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// Of channels.
const SHORT_LIVED: &str = "public, max-age=60";

/// A bucket, or what is below a prefix in one.
#[derive(Debug)]
pub struct BucketDestination {
    address: String,
    store: PrefixStore<Box<dyn ObjectStore>>,
    /// Of this thread: it runs while something is waited for.
    runtime: Runtime,
}

impl BucketDestination {
    /// Goes by an address with the scheme `s3`, `gs` or `az`; nothing is asked of the store yet.
    /// Credentials and the like come from `settings`, named as the variables of the environment that
    /// `object_store` knows, else from the environment.
    pub fn open(
        address: &str,
        settings: &[(&str, &str)],
        patience: Patience,
    ) -> Result<Self, RemoteError> {
        let what = || format!("open {address}");
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(RemoteError::io(what()))?;
        // Somebody else in this process may have chosen; any choice will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (store, prefix) = connect(address, settings, patience)
            .map_err(|error| bucket_error(what(), Fault::Settings, &error))?;
        Ok(Self {
            address: address.into(),
            store: PrefixStore::new(store, prefix),
            runtime,
        })
    }

    fn what(&self, verb: &str, path: &str) -> String {
        format!("{verb} {path} in {}", self.address)
    }

    /// The first bytes of an object, and which version of it they are of.
    fn get(
        &self,
        path: &str,
        max_bytes: u64,
    ) -> Result<Option<(Vec<u8>, UpdateVersion)>, RemoteError> {
        let options = GetOptions {
            range: Some((0..max_bytes).into()),
            ..GetOptions::default()
        };
        let got = self.runtime.block_on(async {
            let answer = self.store.get_opts(&Path::parse(path)?, options).await?;
            let version = UpdateVersion {
                e_tag: answer.meta.e_tag.clone(),
                version: answer.meta.version.clone(),
            };
            Ok((answer.bytes().await?.into(), version))
        });
        match got {
            Err(error) if is_no_such_object(&error) => Ok(None),
            got => got.map(Some).map_err(failed(self.what("read", path))),
        }
    }

    fn put_whole(&self, path: &str, content: &[u8], mode: PutMode) -> Result<(), Error> {
        let options = PutOptions {
            mode,
            attributes: attributes(SHORT_LIVED),
            ..PutOptions::default()
        };
        let payload = content.to_vec().into();
        let put = async {
            self.store
                .put_opts(&Path::parse(path)?, payload, options)
                .await
        };
        self.runtime.block_on(put).map(drop)
    }
}

fn attributes(cache_control: &'static str) -> Attributes {
    Attributes::from_iter([
        (Attribute::ContentType, CONTENT_TYPE),
        (Attribute::CacheControl, cache_control),
    ])
}

/// The bucket at an address, and the prefix.
fn connect(
    address: &str,
    settings: &[(&str, &str)],
    patience: Patience,
) -> Result<(Box<dyn ObjectStore>, Path), Error> {
    let generic = |reason: String| Error::Generic {
        store: "address",
        source: reason.into(),
    };
    let url = address
        .parse()
        .map_err(|error| generic(format!("{error}")))?;
    let (scheme, prefix) = ObjectStoreScheme::parse(&url)?;
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: patience.pause,
            max_backoff: patience.longest_pause,
            base: 2.0,
        },
        max_retries: patience.attempts.saturating_sub(1) as usize,
        retry_timeout: RETRY_TIMEOUT,
    };
    let limits = [
        ("timeout", REQUEST_TIMEOUT),
        ("pool_idle_timeout", POOL_IDLE_TIMEOUT),
    ];
    let settings = limits.iter().chain(settings);
    macro_rules! builder {
        ($builder:ty) => {{
            let mut builder = <$builder>::from_env().with_url(address).with_retry(retry);
            for (name, value) in settings {
                builder = builder.with_config(name.to_ascii_lowercase().parse()?, *value);
            }
            builder
        }};
    }
    let store: Box<dyn ObjectStore> = match scheme {
        ObjectStoreScheme::AmazonS3 => {
            let builder = builder!(AmazonS3Builder);
            let value = |key| builder.get_config_value(&key).unwrap_or_default();
            let endpoint = value(AmazonS3ConfigKey::Endpoint);
            let allow_http = value(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
            if endpoint.starts_with("http://") && allow_http != "true" {
                let reason = "AWS_ENDPOINT begins with http://: set AWS_ALLOW_HTTP=true too";
                return Err(generic(reason.into()));
            }
            Box::new(builder.build()?)
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            Box::new(builder!(GoogleCloudStorageBuilder).build()?)
        }
        ObjectStoreScheme::MicrosoftAzure => Box::new(builder!(MicrosoftAzureBuilder).build()?),
        other => return Err(generic(format!("{other:?} is no bucket"))),
    };
    Ok((store, prefix))
}

/// Why content was not put.
enum PutError {
    Read(io::Error),
    Store(Error),
}

impl From<Error> for PutError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

async fn upload(
    store: &dyn ObjectStore,
    path: &str,
    content: &mut dyn Read,
) -> Result<(), PutError> {
    let path = Path::parse(path).map_err(Error::from)?;
    let attributes = attributes(IMMUTABLE);
    let first = read_part(content)?;
    if first.len() < PART_BYTES {
        let options = PutOptions {
            attributes,
            ..PutOptions::default()
        };
        store.put_opts(&path, first.into(), options).await?;
        return Ok(());
    }
    let options = PutMultipartOptions {
        attributes,
        ..PutMultipartOptions::default()
    };
    let upload = store.put_multipart_opts(&path, options).await?;
    let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
    if let Err(error) = send(&mut upload, first, content).await {
        // What went wrong first is told. Where this fails too, the store's own rules clear parts away.
        let _ = upload.abort().await;
        return Err(error);
    }
    upload.finish().await?;
    Ok(())
}

async fn send(
    upload: &mut WriteMultipart,
    mut part: Vec<u8>,
    content: &mut dyn Read,
) -> Result<(), PutError> {
    while !part.is_empty() {
        upload.wait_for_capacity(PARTS_AT_ONCE).await?;
        upload.put(part.into());
        part = read_part(content)?;
    }
    Ok(())
}

/// The next bytes, as many as a part has; fewer at the end.
fn read_part(content: &mut dyn Read) -> Result<Vec<u8>, PutError> {
    let mut part = Vec::new();
    let mut limited = content.take(PART_BYTES as u64);
    limited.read_to_end(&mut part).map_err(PutError::Read)?;
    Ok(part)
}

/// What tells why a store failed: `object_store` hands the status of an answer on for some requests only.
const SIGNS: [(&str, Fault); 7] = [
    ("<Code>NoSuchBucket<", Fault::NotThere),
    ("<Code>ContainerNotFound<", Fault::NotThere),
    ("status code: 401 ", Fault::Denied),
    ("status code: 403 ", Fault::Denied),
    ("status code: 501 ", Fault::Unsupported),
    // Where the machines of Amazon and Google are told who they are; asked when nothing else says so.
    ("//169.254.169.254/", Fault::Denied),
    ("//metadata", Fault::Denied),
];

fn fault_of(error: &Error) -> Fault {
    let told = error.to_string();
    let sign = SIGNS.iter().find(|(sign, _)| told.contains(sign));
    sign.map_or(Fault::Other, |(_, fault)| *fault)
}

/// Whether all that is wrong is that there is no object of this name.
fn is_no_such_object(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. }) && fault_of(error) == Fault::Other
}

/// The error for what was tried and failed.
fn failed(what: String) -> impl FnOnce(Error) -> RemoteError {
    move |error| bucket_error(what, fault_of(&error), &error)
}

fn bucket_error(what: String, fault: Fault, error: &Error) -> RemoteError {
    // The outermost says which kind of store it is, and that it failed.
    let told = error
        .source()
        .map_or(error.to_string(), ToString::to_string);
    let told: Vec<&str> = told.split_whitespace().collect();
    RemoteError::Bucket {
        what: what.into(),
        fault,
        source: told.join(" ").into(),
    }
}

impl Destination for BucketDestination {
    fn location(&self) -> String {
        self.address.clone()
    }

    fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, RemoteError> {
        let got = self.get(path, max_bytes)?;
        Ok(got.map(|(content, _)| content))
    }

    fn size_of(&self, path: &str) -> Result<Option<u64>, RemoteError> {
        let head = async { self.store.head(&Path::parse(path)?).await };
        match self.runtime.block_on(head) {
            Err(error) if is_no_such_object(&error) => Ok(None),
            Err(error) => Err(failed(self.what("look at", path))(error)),
            Ok(meta) => Ok(Some(meta.size)),
        }
    }

    fn put(&self, path: &str, content: &mut dyn Read) -> Result<(), RemoteError> {
        let put = self.runtime.block_on(upload(&self.store, path, content));
        put.map_err(|error| match error {
            PutError::Read(error) => RemoteError::io(format!("read what {path} is to be"))(error),
            PutError::Store(error) => failed(self.what("write", path))(error),
        })
    }

    fn replace(
        &self,
        path: &str,
        previous: Option<&[u8]>,
        content: &[u8],
    ) -> Result<(), RemoteError> {
        let max_bytes = previous.map_or(0, |previous| previous.len() as u64) + 1;
        let (there, mode) = match self.get(path, max_bytes)? {
            Some((there, version)) => (Some(there), PutMode::Update(version)),
            None => (None, PutMode::Create),
        };
        let conflict = || RemoteError::Conflict {
            location: self.location(),
        };
        if there.as_deref() != previous {
            return Err(conflict());
        }
        let put = match self.put_whole(path, content, mode) {
            // Whoever set AWS_CONDITIONAL_PUT=disabled has said that nobody else publishes meanwhile.
            Err(Error::NotImplemented { .. }) => self.put_whole(path, content, PutMode::Overwrite),
            put => put,
        };
        match put {
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                // An answer may have been lost, and the request made again.
                let there = self.read(path, content.len() as u64 + 1)?;
                let is_done = there.as_deref() == Some(content);
                is_done.then_some(()).ok_or_else(conflict)
            }
            put => put.map_err(failed(self.what("write", path))),
        }
    }

    fn list(&self) -> Result<Vec<Listed>, RemoteError> {
        let listed = self.store.list(None).map_ok(|meta| Listed {
            path: meta.location.to_string(),
            size_bytes: meta.size,
            modified: meta.last_modified.into(),
        });
        let listed = self.runtime.block_on(listed.try_collect());
        let mut listed: Vec<_> = listed.map_err(failed(format!("list {}", self.address)))?;
        listed.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(listed)
    }

    fn remove(&self, path: &str) -> Result<(), RemoteError> {
        let delete = async { self.store.delete(&Path::parse(path)?).await };
        let deleted = self.runtime.block_on(delete);
        deleted.map_err(failed(self.what("remove", path)))
    }
}
