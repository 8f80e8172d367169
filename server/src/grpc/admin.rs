//! `AdminService`: the hub as a whole.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use hookline_proto::v1::{
    self, BackupFinished, BackupRecords, BackupRow, BackupSection, BackupStarted,
    admin_service_server::AdminService, backup_response::Part,
};
use tonic::{Request, Response, Status};

use super::{Shared, convert, status};
use crate::{
    backup,
    store::export::{ExportError, ExportRows, Mark, Page, Row, Section},
};

#[derive(Debug)]
pub(super) struct Service(pub(super) Shared);

type Parts = Pin<Box<dyn Stream<Item = Result<v1::BackupResponse, Status>> + Send>>;

#[tonic::async_trait]
impl AdminService for Service {
    type BackupStream = Parts;

    async fn backup(
        &self,
        _: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let exporting = self.0.export.export().await.map_err(|error| failed(&error))?;
        let created_at = self.0.broker.clock().wall();
        let Mark { layout_version, head, first, subscription_count } = exporting.mark;
        tracing::info!(mark = head, "a backup has begun");
        let started = Part::Started(BackupStarted {
            layout_version,
            mark: head,
            first: first.get(),
            subscription_count,
            created_at: Some(convert::timestamp(created_at)),
        });
        let sending = Sending { rows: Some(exporting.rows), count: 0, bytes: 0 };
        let rows = stream::try_unfold(sending, |mut sending| async move {
            let part = sending.next().await?;
            Ok(part.map(|part| (part, sending)))
        });
        let parts = stream::once(std::future::ready(Ok(started))).chain(rows);
        let stop = self.0.stop.clone();
        // A stream that is cut off has no `finished`.
        let parts = parts.take_until(stop.cancelled_owned());
        let response =
            |part: Result<Part, Status>| part.map(|part| v1::BackupResponse { part: Some(part) });
        Ok(Response::new(Box::pin(parts.map(response))))
    }
}

/// What is left to be sent.
struct Sending {
    /// `None` once all were.
    rows: Option<Box<dyn ExportRows>>,
    count: u64,
    bytes: u64,
}

impl Sending {
    async fn next(&mut self) -> Result<Option<Part>, Status> {
        let Some(rows) = &mut self.rows else { return Ok(None) };
        let page = rows.next().await.map_err(|error| {
            tracing::error!(%error, "a backup has failed");
            failed(&error)
        })?;
        let Some(page) = page else {
            self.rows = None;
            let Self { count, bytes, .. } = *self;
            tracing::info!(count, bytes, "a backup has ended");
            return Ok(Some(Part::Finished(BackupFinished { count, bytes })));
        };
        let records = records(page);
        self.count += records.count;
        self.bytes += u64::try_from(records.records.len()).unwrap_or(u64::MAX);
        Ok(Some(Part::Records(records)))
    }
}

fn records(page: Page) -> BackupRecords {
    let mut records = Vec::new();
    let count = u64::try_from(page.rows.len()).unwrap_or(u64::MAX);
    for Row { key, content } in page.rows {
        backup::push_record(&mut records, &BackupRow { key, content });
    }
    let section = match page.section {
        Section::Subscriptions => BackupSection::Subscriptions,
        Section::Log => BackupSection::Log,
    };
    BackupRecords { section: section.into(), count, records: Bytes::from(records) }
}

fn failed(error: &ExportError) -> Status {
    match error {
        ExportError::Busy => Status::resource_exhausted(error.to_string()),
        ExportError::Damaged(_) => Status::data_loss(error.to_string()),
        ExportError::GivenUp(_) => Status::aborted(error.to_string()),
        ExportError::Unavailable(_) => status::unavailable(error.to_string()),
    }
}
