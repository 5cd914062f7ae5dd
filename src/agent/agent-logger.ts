/** What the agent logs with: the part of a pino logger that it uses. */

interface Log {
  (message: string): void;
  (facts: object, message: string): void;
}

export interface AgentLogger {
  readonly debug: Log;
  readonly info: Log;
  readonly warn: Log;
  readonly error: Log;
}
