//! Messages in, messages out: what is asked for, and the rules of the protocol around it.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use lsp_server::{ErrorCode, Message, Notification, Request, RequestId, Response, ResponseError};
use lsp_types::{
    CodeActionKind, CodeActionOptions, CodeActionParams, CodeActionProviderCapability, CodeLensOptions,
    CodeLensParams, CompletionOptions, CompletionParams, DidChangeTextDocumentParams,
    DidChangeWorkspaceFoldersParams, DidCloseTextDocumentParams, DidOpenTextDocumentParams,
    DocumentFormattingParams, DocumentSymbolParams, DocumentSymbolResponse, FoldingRangeParams,
    FoldingRangeProviderCapability, GotoDefinitionParams, GotoDefinitionResponse, HoverParams,
    HoverProviderCapability, InitializeParams, InlayHintParams, Location, OneOf, PrepareRenameResponse,
    ReferenceParams, RenameOptions, RenameParams, SaveOptions, SemanticTokens, SemanticTokensFullOptions,
    SemanticTokensOptions, SemanticTokensParams, ServerCapabilities, SignatureHelpOptions,
    SignatureHelpParams, TextDocumentPositionParams, TextDocumentSyncCapability, TextDocumentSyncKind,
    TextDocumentSyncOptions, TextDocumentSyncSaveOptions, TextEdit, Uri, WorkspaceEdit,
    WorkspaceFoldersServerCapabilities, WorkspaceServerCapabilities,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::complete::{self, Snippets};
use super::diagnose::{self, Published};
use super::names::{self, Declaration};
use super::project::Project;
use super::text::Encoding;
use super::{Outside, actions, analysis, hints, hover, place, rename, signature, symbols, tokens};
use crate::base::SourceMap;
use crate::lang::syntax::format;

/// The request failed although it was understood: the message is for people (LSP 3.17, `LSPErrorCodes.RequestFailed`).
const REQUEST_FAILED: i32 = -32803;

/// How far the conversation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Only `initialize` is answered.
    New,
    /// Everything is.
    Running,
    /// Only `exit` is heard.
    ShutDown,
    /// It is over; the code says whether it was in order.
    Ended(u8),
}

/// A language server: gives an answer to every request, whatever it is given.
pub struct Server {
    project: Project,
    published: Published,
    phase: Phase,
    snippets: Snippets,
    /// Something changed that diagnostics may be about.
    dirty: bool,
}

impl Server {
    /// A server that was not spoken to yet.
    pub fn new(outside: Box<dyn Outside + Send + Sync>) -> Server {
        Server {
            project: Project::new(outside),
            published: Published::default(),
            phase: Phase::New,
            snippets: Snippets::Unknown,
            dirty: false,
        }
    }

    /// What there is to say to a message: the answer of a request first. A panic costs the request and nothing else.
    pub fn handle(&mut self, message: Message) -> Vec<Message> {
        match message {
            Message::Request(request) => {
                let (id, method) = (request.id.clone(), request.method.clone());
                let answer = catch_unwind(AssertUnwindSafe(|| self.request(request)));
                let answer = answer.unwrap_or_else(|_| {
                    self.project.refresh();
                    let message = format!("bkl failed at `{method}`; this is a bug, please report it");
                    Err(error(ErrorCode::InternalError as i32, message))
                });
                vec![Response { id, response_result: answer }.into()]
            }
            Message::Notification(notification) => {
                let done = catch_unwind(AssertUnwindSafe(|| self.notification(notification)));
                done.unwrap_or_else(|_| {
                    self.project.refresh();
                    Vec::new()
                })
            }
            // Answers to what the server asked: it asks for nothing that it waits for.
            Message::Response(_) => Vec::new(),
        }
    }

    /// The answer to a request that was taken back before it was looked at.
    pub fn cancelled(id: RequestId) -> Message {
        let error = error(ErrorCode::RequestCanceled as i32, "the request was cancelled".to_owned());
        Response { id, response_result: Err(error) }.into()
    }

    /// Whether there may be new diagnostics.
    pub fn has_news(&self) -> bool {
        self.dirty && self.phase == Phase::Running
    }

    /// Diagnostics of everything that changed.
    pub fn news(&mut self) -> Vec<Message> {
        self.dirty = false;
        let found =
            catch_unwind(AssertUnwindSafe(|| diagnose::diagnose(&mut self.project, &mut self.published)));
        let messages = found.unwrap_or_else(|_| {
            self.project.refresh();
            Vec::new()
        });
        let method = "textDocument/publishDiagnostics";
        messages.into_iter().map(|params| Notification::new(method.to_owned(), params).into()).collect()
    }

    /// The exit code, when the conversation is over: 0 if `shutdown` came before `exit`.
    pub fn exit_code(&self) -> Option<u8> {
        match self.phase {
            Phase::Ended(code) => Some(code),
            Phase::New | Phase::Running | Phase::ShutDown => None,
        }
    }

    /// Whether an editor is being served: it said `initialize` and not yet `shutdown`.
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    // ---- notifications

    fn notification(&mut self, notification: Notification) -> Vec<Message> {
        let Notification { method, params } = notification;
        if method == "exit" {
            self.phase = Phase::Ended(u8::from(self.phase != Phase::ShutDown));
            return Vec::new();
        }
        if self.phase != Phase::Running {
            return Vec::new();
        }
        // What cannot be read changes nothing: there is no one to tell.
        match &*method {
            "initialized" => return vec![watch_files()],
            "textDocument/didOpen" => {
                if let Ok(DidOpenTextDocumentParams { text_document: it }) = serde_json::from_value(params) {
                    self.project.open(it.uri, it.version, &it.text);
                }
            }
            "textDocument/didChange" => {
                if let Ok(it) = serde_json::from_value::<DidChangeTextDocumentParams>(params) {
                    let document = it.text_document;
                    self.project.edit(&document.uri, document.version, &it.content_changes);
                }
            }
            "textDocument/didClose" => {
                if let Ok(DidCloseTextDocumentParams { text_document: it }) = serde_json::from_value(params) {
                    self.project.close(&it.uri);
                }
            }
            "textDocument/didSave" | "workspace/didChangeWatchedFiles" => self.project.refresh(),
            "workspace/didChangeWorkspaceFolders" => {
                if let Ok(it) = serde_json::from_value::<DidChangeWorkspaceFoldersParams>(params) {
                    let removed: Vec<PathBuf> =
                        it.event.removed.iter().map(|folder| place::path_of(&folder.uri)).collect();
                    self.project.folders.retain(|folder| !removed.contains(folder));
                    self.project
                        .folders
                        .extend(it.event.added.iter().map(|folder| place::path_of(&folder.uri)));
                    self.project.refresh();
                }
            }
            _ => return Vec::new(),
        }
        self.dirty = true;
        Vec::new()
    }

    // ---- requests

    fn request(&mut self, request: Request) -> Result<Value, ResponseError> {
        let Request { method, params, .. } = request;
        match (self.phase, &*method) {
            (Phase::New, "initialize") => return self.initialize(params),
            (Phase::New, _) => {
                let message = "the server was not initialized yet".to_owned();
                return Err(error(ErrorCode::ServerNotInitialized as i32, message));
            }
            (Phase::Running, "shutdown") => {
                self.phase = Phase::ShutDown;
                return Ok(Value::Null);
            }
            (Phase::Running, "initialize") => {
                return Err(error(
                    ErrorCode::InvalidRequest as i32,
                    "the server is initialized already".to_owned(),
                ));
            }
            (Phase::ShutDown | Phase::Ended(_), _) => {
                return Err(error(ErrorCode::InvalidRequest as i32, "the server was shut down".to_owned()));
            }
            (Phase::Running, _) => {}
        }
        match &*method {
            "textDocument/hover" => {
                let it: HoverParams = read(params)?;
                let (path, offset) = self.place(&it.text_document_position_params);
                answer(hover::hover(&mut self.project, &path, offset))
            }
            "textDocument/completion" => {
                let it: CompletionParams = read(params)?;
                let (path, offset) = self.place(&it.text_document_position);
                answer(complete::complete(&mut self.project, &path, offset, self.snippets))
            }
            "textDocument/signatureHelp" => {
                let it: SignatureHelpParams = read(params)?;
                let (path, offset) = self.place(&it.text_document_position_params);
                answer(signature::signature_help(&mut self.project, &path, offset))
            }
            "textDocument/definition" => {
                let it: GotoDefinitionParams = read(params)?;
                let (path, offset) = self.place(&it.text_document_position_params);
                let place = names::definition(&mut self.project, &path, offset);
                answer(place.and_then(|place| self.location(&place)).map(GotoDefinitionResponse::Scalar))
            }
            "textDocument/references" => {
                let it: ReferenceParams = read(params)?;
                let (path, offset) = self.place(&it.text_document_position);
                let declaration =
                    if it.context.include_declaration { Declaration::Included } else { Declaration::LeftOut };
                let places = names::references(&mut self.project, &path, offset, declaration);
                answer(places.iter().filter_map(|place| self.location(place)).collect::<Vec<_>>())
            }
            "textDocument/documentHighlight" => {
                let it: GotoDefinitionParams = read(params)?;
                let (path, offset) = self.place(&it.text_document_position_params);
                let places = names::references(&mut self.project, &path, offset, Declaration::Included);
                let here = places.iter().filter(|place| place.path == path);
                let ranges =
                    here.filter_map(|place| self.location(place)).map(|it| json!({ "range": it.range }));
                answer(ranges.collect::<Vec<_>>())
            }
            "textDocument/prepareRename" => {
                let it: TextDocumentPositionParams = read(params)?;
                let (path, offset) = self.place(&it);
                let place = rename::prepare(&mut self.project, &path, offset);
                let place = place.map_err(|why| error(REQUEST_FAILED, why))?;
                answer(self.location(&place).map(|location| PrepareRenameResponse::Range(location.range)))
            }
            "textDocument/rename" => self.rename(params),
            "textDocument/documentSymbol" => {
                let it: DocumentSymbolParams = read(params)?;
                let path = place::path_of(&it.text_document.uri);
                answer(DocumentSymbolResponse::Nested(symbols::outline(&mut self.project, &path)))
            }
            "textDocument/foldingRange" => {
                let it: FoldingRangeParams = read(params)?;
                answer(symbols::folds(&self.project, &place::path_of(&it.text_document.uri)))
            }
            "textDocument/codeAction" => {
                let it: CodeActionParams = read(params)?;
                answer(actions::actions(&mut self.project, &place::path_of(&it.text_document.uri), it.range))
            }
            "textDocument/codeLens" => {
                let it: CodeLensParams = read(params)?;
                answer(hints::lenses(&mut self.project, &place::path_of(&it.text_document.uri)))
            }
            "textDocument/inlayHint" => {
                let it: InlayHintParams = read(params)?;
                answer(hints::inlays(&mut self.project, &place::path_of(&it.text_document.uri), it.range))
            }
            "textDocument/semanticTokens/full" => {
                let it: SemanticTokensParams = read(params)?;
                let data = tokens::tokens(&mut self.project, &place::path_of(&it.text_document.uri));
                answer(SemanticTokens { result_id: None, data })
            }
            "textDocument/formatting" => {
                let it: DocumentFormattingParams = read(params)?;
                self.format(&place::path_of(&it.text_document.uri))
            }
            _ => {
                let message = format!("`{method}` is not something this server knows");
                Err(error(ErrorCode::MethodNotFound as i32, message))
            }
        }
    }

    fn initialize(&mut self, params: Value) -> Result<Value, ResponseError> {
        let params: InitializeParams = read(params)?;
        let general = params.capabilities.general.as_ref();
        let offered = general.and_then(|general| general.position_encodings.as_deref());
        self.project.encoding = Encoding::negotiate(offered);
        let document = params.capabilities.text_document.as_ref();
        let item = document.and_then(|it| it.completion.as_ref()?.completion_item.as_ref()?.snippet_support);
        self.snippets = if item == Some(true) { Snippets::Understood } else { Snippets::Unknown };
        let folders = params.workspace_folders.unwrap_or_default();
        self.project.folders = folders.iter().map(|folder| place::path_of(&folder.uri)).collect();
        #[allow(deprecated, reason = "older editors name one folder only")]
        if let (true, Some(root)) = (self.project.folders.is_empty(), &params.root_uri) {
            self.project.folders.push(place::path_of(root));
        }
        self.phase = Phase::Running;
        answer(json!({
            "capabilities": capabilities(self.project.encoding),
            "serverInfo": { "name": "bkl", "version": env!("CARGO_PKG_VERSION") },
        }))
    }

    fn rename(&mut self, params: Value) -> Result<Value, ResponseError> {
        let it: RenameParams = read(params)?;
        let (path, offset) = self.place(&it.text_document_position);
        let edits = rename::rename(&mut self.project, &path, offset, &it.new_name);
        let edits = edits.map_err(|why| error(REQUEST_FAILED, why))?;
        // The protocol's type is a map.
        #[allow(clippy::mutable_key_type, reason = "keys are not changed")]
        let mut changes: HashMap<Uri, Vec<TextEdit>> = HashMap::new();
        for (place, new_text) in edits.into_values().flatten() {
            let Some(location) = self.location(&place) else { continue };
            changes.entry(location.uri).or_default().push(TextEdit { range: location.range, new_text });
        }
        answer(WorkspaceEdit { changes: Some(changes), ..WorkspaceEdit::default() })
    }

    /// The lines that change, as one edit; nothing for a text that does not parse: diagnostics say that already.
    fn format(&self, path: &Path) -> Result<Value, ResponseError> {
        let Some(text) = self.project.text(path) else { return Ok(Value::Null) };
        let mut sources = SourceMap::default();
        let file = sources.add(path.to_string_lossy(), text.text.clone());
        let new = match format::format(sources.file(file)) {
            Ok(new) => new,
            Err(format::FormatError::Syntax(_)) => return Ok(Value::Null),
            Err(bug @ format::FormatError::Changed { .. }) => {
                return Err(error(REQUEST_FAILED, bug.to_string()));
            }
        };
        if *new == *text.text {
            return answer(Vec::<TextEdit>::new());
        }
        let same = |a: &str, b: &str| a == b;
        let lines = || text.text.split_inclusive('\n').zip(new.split_inclusive('\n'));
        let start: usize = lines().take_while(|(a, b)| same(a, b)).map(|(a, _)| a.len()).sum();
        let (old_rest, new_rest) = (&text.text[start..], &new[start..]);
        let back = old_rest.split_inclusive('\n').rev().zip(new_rest.split_inclusive('\n').rev());
        let end: usize = back.take_while(|(a, b)| same(a, b)).map(|(a, _)| a.len()).sum();
        let range = text.range(start as u32, (text.text.len() - end) as u32, self.project.encoding);
        answer(vec![TextEdit { range, new_text: new_rest[..new_rest.len() - end].to_owned() }])
    }

    // ---- places

    fn place(&self, at: &TextDocumentPositionParams) -> (PathBuf, u32) {
        let path = place::path_of(&at.text_document.uri);
        let offset =
            self.project.text(&path).map_or(0, |text| text.offset(at.position, self.project.encoding));
        (path, offset)
    }

    fn location(&self, place: &analysis::Place) -> Option<Location> {
        let text = self.project.text(&place.path)?;
        let document = self.project.document(&place.path);
        let uri = document.map(|it| it.uri.clone()).or_else(|| place::uri_of(&place.path))?;
        Some(Location { uri, range: text.range(place.start, place.end, self.project.encoding) })
    }
}

fn error(code: i32, message: String) -> ResponseError {
    ResponseError { code, message, data: None }
}

fn read<T: DeserializeOwned>(params: Value) -> Result<T, ResponseError> {
    serde_json::from_value(params).map_err(|why| error(ErrorCode::InvalidParams as i32, why.to_string()))
}

fn answer<T: Serialize>(result: T) -> Result<Value, ResponseError> {
    serde_json::to_value(result).map_err(|why| error(ErrorCode::InternalError as i32, why.to_string()))
}

/// Asks the editor to tell of programs and locks that change on disk. Editors that cannot do that say so, and are not
/// asked again.
fn watch_files() -> Message {
    let watchers = json!([{ "globPattern": "**/*.bkl" }, { "globPattern": "**/bkl.lock" }]);
    let registration = json!({
        "id": "bkl/files",
        "method": "workspace/didChangeWatchedFiles",
        "registerOptions": { "watchers": watchers },
    });
    let params = json!({ "registrations": [registration] });
    let id = RequestId::from("bkl/files".to_owned());
    Request::new(id, "client/registerCapability".to_owned(), params).into()
}

fn capabilities(encoding: Encoding) -> ServerCapabilities {
    let strings = |texts: &[&str]| Some(texts.iter().map(|&text| text.to_owned()).collect());
    ServerCapabilities {
        position_encoding: Some(encoding.kind()),
        text_document_sync: Some(TextDocumentSyncCapability::Options(TextDocumentSyncOptions {
            open_close: Some(true),
            change: Some(TextDocumentSyncKind::INCREMENTAL),
            save: Some(TextDocumentSyncSaveOptions::SaveOptions(SaveOptions { include_text: Some(false) })),
            ..TextDocumentSyncOptions::default()
        })),
        hover_provider: Some(HoverProviderCapability::Simple(true)),
        completion_provider: Some(CompletionOptions {
            trigger_characters: strings(&[".", "\"", "/"]),
            ..CompletionOptions::default()
        }),
        signature_help_provider: Some(SignatureHelpOptions {
            trigger_characters: strings(&["(", ","]),
            ..SignatureHelpOptions::default()
        }),
        definition_provider: Some(OneOf::Left(true)),
        references_provider: Some(OneOf::Left(true)),
        document_highlight_provider: Some(OneOf::Left(true)),
        document_symbol_provider: Some(OneOf::Left(true)),
        folding_range_provider: Some(FoldingRangeProviderCapability::Simple(true)),
        code_action_provider: Some(CodeActionProviderCapability::Options(CodeActionOptions {
            code_action_kinds: Some(vec![CodeActionKind::QUICKFIX]),
            ..CodeActionOptions::default()
        })),
        code_lens_provider: Some(CodeLensOptions { resolve_provider: Some(false) }),
        document_formatting_provider: Some(OneOf::Left(true)),
        rename_provider: Some(OneOf::Right(RenameOptions {
            prepare_provider: Some(true),
            work_done_progress_options: lsp_types::WorkDoneProgressOptions::default(),
        })),
        inlay_hint_provider: Some(OneOf::Left(true)),
        semantic_tokens_provider: Some(
            SemanticTokensOptions {
                legend: tokens::legend(),
                full: Some(SemanticTokensFullOptions::Bool(true)),
                ..SemanticTokensOptions::default()
            }
            .into(),
        ),
        workspace: Some(WorkspaceServerCapabilities {
            workspace_folders: Some(WorkspaceFoldersServerCapabilities {
                supported: Some(true),
                change_notifications: Some(OneOf::Left(true)),
            }),
            file_operations: None,
        }),
        ..ServerCapabilities::default()
    }
}
