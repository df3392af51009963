//! A bucket on loopback: `s3s` speaks the protocol and checks the signatures, `s3s-fs` keeps the objects.
//! The listing gets entity tags, which `s3s-fs` leaves out and services give; `GET` gets faults.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use futures::StreamExt;
use http_body_util::BodyExt;
use md5::{Digest, Md5};
use s3s::{
    S3, S3Request, S3Response, S3Result,
    auth::SimpleAuth,
    dto::{
        ETag, ETagCondition, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput,
        ListObjectsV2Input, ListObjectsV2Output, ServerSideEncryption, StreamingBlob,
    },
    s3_error,
    service::S3ServiceBuilder,
};
use s3s_fs::FileSystem;

use crate::net;

pub(crate) const BUCKET: &str = "models";
pub(crate) const ACCESS_KEY: &str = "AKIAEXAMPLE";
pub(crate) const SECRET_KEY: &str = "very/secret+key";

/// What tests ask of the bucket, and see of it.
#[derive(Default)]
pub(crate) struct Behaviour {
    /// Bytes after which the next answers with more of an object's content than that break off.
    pub(crate) cuts: VecDeque<usize>,
    /// The entity tag of every listing is that of objects in several pieces.
    pub(crate) in_pieces: bool,
    /// Objects are encrypted with a key of a key service, and their entity tags are no MD5.
    pub(crate) by_key: bool,
    /// First bytes that were asked for, by object.
    pub(crate) starts: Vec<(String, u64)>,
}

/// The bucket.
pub(crate) struct Bucket {
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
    pub(crate) behaviour: Arc<Mutex<Behaviour>>,
}

impl Bucket {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let behaviour = Arc::<Mutex<Behaviour>>::default();
        let mut service = S3ServiceBuilder::new(Tagged {
            inner: FileSystem::new(folder.path()).unwrap(),
            root: folder.path().join(BUCKET),
            behaviour: Arc::clone(&behaviour),
        });
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = service.build();
        let address = net::serve(move |request| {
            let service = service.clone();
            async move {
                let answer = service.call(request.map(s3s::Body::from)).await.unwrap();
                answer.map(|body| body.map_err(Into::into).boxed_unsync())
            }
        });
        Self {
            address,
            folder,
            behaviour,
        }
    }

    pub(crate) fn put(&self, key: &str, content: &[u8]) {
        let path = self.folder.path().join(BUCKET).join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

struct Tagged {
    inner: FileSystem,
    root: PathBuf,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl Tagged {
    fn tag(&self, key: &str) -> ETag {
        let content = std::fs::read(self.root.join(key)).unwrap_or_default();
        let mut md5 = Md5::new_with_prefix(content);
        let behaviour = self.behaviour.lock().unwrap();
        if behaviour.by_key {
            md5.update(b"encrypted");
        }
        let md5: String = md5
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        ETag::Strong(if behaviour.in_pieces {
            format!("{md5}-2")
        } else {
            md5
        })
    }
}

#[async_trait::async_trait]
impl S3 for Tagged {
    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let mut answer = self.inner.list_objects_v2(request).await?;
        for object in answer.output.contents.iter_mut().flatten() {
            object.e_tag = object.key.as_deref().map(|key| self.tag(key));
        }
        Ok(answer)
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let tag = self.tag(&request.input.key);
        let mut answer = self.inner.head_object(request).await?;
        answer.output.e_tag = Some(tag);
        Ok(answer)
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let (key, tag) = (request.input.key.clone(), self.tag(&request.input.key));
        if let Some(ETagCondition::ETag(wanted)) = &request.input.if_match
            && *wanted != tag
        {
            return Err(s3_error!(PreconditionFailed));
        }
        let start = match request.input.range {
            Some(s3s::dto::Range::Int { first, .. }) => first,
            _ => 0,
        };
        let mut answer = self.inner.get_object(request).await?;
        let mut behaviour = self.behaviour.lock().unwrap();
        behaviour.starts.push((key, start));
        answer.output.e_tag = Some(tag);
        if behaviour.by_key {
            let kind = ServerSideEncryption::from_static(ServerSideEncryption::AWS_KMS);
            answer.output.server_side_encryption = Some(kind);
        }
        let length = answer.output.content_length.unwrap_or_default();
        if let Some(bytes) = behaviour
            .cuts
            .pop_front_if(|bytes| (*bytes as i64) < length)
            && let Some(body) = answer.output.body.take()
        {
            let mut left = bytes;
            let cut = body.map(move |chunk| {
                let chunk = chunk.map_err(std::io::Error::other)?;
                left = left
                    .checked_sub(chunk.len())
                    .ok_or_else(|| std::io::Error::other("cut"))?;
                Ok::<_, std::io::Error>(chunk)
            });
            answer.output.body = Some(StreamingBlob::wrap(cut));
        }
        Ok(answer)
    }
}
