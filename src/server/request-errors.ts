/** Turns whatever goes wrong with a request into a NattoError that says what to do about it. */
import type { FastifyRequest } from "fastify";
import { asNattoError, NattoError } from "../errors.ts";
import { findKind, isKind, KINDS, kindInfo } from "../model/kinds.ts";
import { API_GROUP_PATH } from "../model/meta.ts";
import { bodyTooLarge } from "./body.ts";

/** The error of a request that failed: ours, fastify's, or a defect. */
export function requestError(thrown: unknown, request: FastifyRequest): NattoError {
  if (thrown instanceof NattoError) return thrown;
  const code = codeOf(thrown);
  const { message } = asNattoError(thrown);
  const kind: unknown = request.routeOptions.config.kind;
  if (code === "FST_ERR_CTP_BODY_TOO_LARGE" && isKind(kind)) {
    return bodyTooLarge(`${kind} ${nameIn(request)}`, kindInfo(kind), request.headers["content-length"]);
  }
  if (code === "FST_ERR_CTP_INVALID_MEDIA_TYPE") {
    return badRequest(
      `content-type: found ${request.headers["content-type"]}; send application/json`,
      thrown,
    );
  }
  if (thrown instanceof SyntaxError || code === "FST_ERR_CTP_INVALID_JSON_BODY") {
    return badRequest(`the body is not JSON (${message}); send one object as JSON`, thrown);
  }
  if (code === "FST_ERR_CTP_EMPTY_JSON_BODY")
    return badRequest("the body is empty; send one object as JSON", thrown);
  if (statusOf(thrown) < 500) return badRequest(`${message}; correct the request`, thrown);
  return asNattoError(thrown);
}

/** The error of a path or method that is not served: says which one was probably meant. */
export function wrongPath(method: string, url: string): NattoError {
  const path = url.split("?")[0] ?? url;
  if (!path.startsWith(`${API_GROUP_PATH}/`)) {
    return badRequest(
      `${method} ${path}: no such path; objects are under ${API_GROUP_PATH}/, and there are /healthz, /readyz, /version and /metrics`,
    );
  }
  const parts = path.slice(API_GROUP_PATH.length + 1).split("/");
  const namespaced = parts[0] === "namespaces";
  const plural = (namespaced ? parts[2] : parts[0]) ?? "";
  const info = KINDS.map(kindInfo).find((candidate) => candidate.plural === plural);
  if (!info) {
    const near = findKind(plural);
    const plurals = KINDS.map((kind) => kindInfo(kind).plural).join(", ");
    return badRequest(
      `${method} ${path}: "${plural}" is no kind's plural; use ${near ? kindInfo(near).plural : `one of ${plurals}`}`,
    );
  }
  const collection = info.namespaced
    ? `${API_GROUP_PATH}/namespaces/NAMESPACE/${info.plural}`
    : `${API_GROUP_PATH}/${info.plural}`;
  return badRequest(
    `${method} ${path}: not served; a ${info.kind} is under ${collection}/NAME[/status], a collection takes GET and POST, ` +
      "an object GET, PUT, PATCH and DELETE, a status GET, PUT and PATCH",
  );
}

function nameIn(request: FastifyRequest): string {
  const params = request.params as { readonly namespace?: string; readonly name?: string };
  return [params.namespace, params.name ?? "(name not read)"].filter((part) => part !== undefined).join("/");
}

function badRequest(message: string, cause?: unknown): NattoError {
  return new NattoError("BadRequest", message, [], cause);
}

function codeOf(thrown: unknown): unknown {
  return thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
}

function statusOf(thrown: unknown): number {
  const status = thrown instanceof Error && "statusCode" in thrown ? thrown.statusCode : undefined;
  return typeof status === "number" ? status : 500;
}
