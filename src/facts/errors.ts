/** Every way in which bytes or input can fail to be a fact or a statement. Codes are stable; spec/facts.md lists them. */
export type FactErrorCode =
  | 'invalid_entity_uri'
  | 'invalid_relation'
  | 'invalid_value'
  | 'invalid_confidence'
  | 'invalid_scope'
  | 'invalid_timestamp'
  | 'invalid_hlc'
  | 'invalid_ext'
  | 'invalid_cid'
  | 'text_too_large'
  | 'lone_surrogate'
  | 'not_canonical'
  | 'too_deep'
  | 'statement_too_large'
  | 'invalid_statement'
  | 'bad_signature'
  | 'hlc_ahead';

/** An input that is not a fact: `code` is stable, `message` says what was found, `hint` says what to do. */
export class FactError extends Error {
  override readonly name = 'FactError';
  readonly code: FactErrorCode;
  readonly hint: string;
  /** Dotted path of the offending member, where there is one (`value.v`). */
  readonly field: string | undefined;

  constructor(code: FactErrorCode, message: string, hint: string, field?: string) {
    super(message);
    this.code = code;
    this.hint = hint;
    this.field = field;
  }
}
