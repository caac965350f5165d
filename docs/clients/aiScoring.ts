/**
 * Scores pictures with the model that Afterglow serves. Stands in for a scorer that ran inside the app: the result has
 * the same three fields `rawScore`, `aiRating` and `modelVersion`, and beside them how it came about.
 *
 * Needs `fetch` (Node 18 or newer) and nothing else. Set AFTERGLOW_URL and AFTERGLOW_KEY (scopes `score,ingest`).
 */

export type Phase = 'sunrise' | 'sunset';

/** A score, as the rows of the database hold it. */
export interface AiScoringResult {
  /** Calibrated model output in [0, 1]. */
  rawScore: number;
  /** The same on the model's scale, 0 to 5 by default; null only from a yes/no model. */
  aiRating: number | null;
  modelVersion: string;
}

interface HowItCame {
  /** Whether the score reaches the model's threshold; null without a score. */
  isGood: boolean | null;
  capture: {
    captured: boolean;
    reason: string;
    snapshotId: number | null;
    samplingProbability: number | null;
  };
  imageSha256: string | null;
  webcamId: number | null;
  eventId: number | null;
}

/** `cache-hit`: the webcam's picture has not changed since this model scored it. */
export type Scored = AiScoringResult & HowItCame & { pathTaken: 'onnx' | 'cache-hit'; reason: null };

/** A score is never made up: without one the numbers are null and `reason` says why. */
export type Unscored = HowItCame & {
  rawScore: null;
  aiRating: null;
  modelVersion: null;
  pathTaken: 'unscored';
  reason: string;
};

export type AiScore = Scored | Unscored;

/** One webcam of a tick. A webcam that is not known is added with the facts given. */
export interface TickWebcam {
  /** Its id at its source. */
  webcam: string;
  /** `windy` where it is not given. */
  source?: string;
  phase?: Phase;
  /** Address of its picture. */
  url: string;
  /** ISO 8601 with offset; now where it is not given. */
  captured_at?: string;
  title?: string;
  status?: string;
  lat?: number;
  lng?: number;
  city?: string;
  region?: string;
  country?: string;
  continent?: string;
}

export type TickScore = AiScore & {
  source: string | null;
  webcam: string | null;
  phase: Phase | null;
  /** One word for why there is no score. */
  failure: string | null;
};

export interface TickAnswer {
  /** False where something at the server kept a webcam from being scored; dead webcams do not make it false. */
  ok: boolean;
  sunrise: number;
  sunset: number;
  ai: {
    total_scored: number;
    unchanged: number;
    above_threshold: number;
    snapshots_captured: number;
    inference_rows_written: number;
    failures: number;
    failure_reasons: Record<string, number>;
  };
  /** In the order of the request. */
  webcams: TickScore[];
}

/** Whether there is a score, for the compiler too. */
export function isScored<T extends AiScore>(score: T): score is T & Scored {
  return score.pathTaken !== 'unscored';
}

/** Score the pictures of many webcams: one tick of the cron. Answers within the server's time for a tick (50 s). */
export async function scoreWebcams(webcams: TickWebcam[]): Promise<TickAnswer> {
  return (await post('/v1/webcams/score', 'application/json', JSON.stringify({ webcams }), 60_000)) as TickAnswer;
}

/** Score the bytes of one picture; with a webcam named its rows are written and the capture gate decides. */
export async function scoreImage(
  image: Uint8Array<ArrayBuffer>,
  frame: { webcam?: string; source?: string; phase?: Phase; captured_at?: string } = {},
): Promise<AiScore> {
  const query = new URLSearchParams(frame as Record<string, string>);
  return (await post(`/v1/score?${query}`, 'application/octet-stream', image, 10_000)) as AiScore;
}

async function post(
  path: string,
  type: string,
  body: string | Uint8Array<ArrayBuffer>,
  milliseconds: number,
): Promise<unknown> {
  const url = process.env.AFTERGLOW_URL;
  const key = process.env.AFTERGLOW_KEY;
  if (!url || !key) {
    throw new Error('set AFTERGLOW_URL and AFTERGLOW_KEY; `afterglow keys create --scopes score,ingest` makes a key');
  }
  const answer = await fetch(url.replace(/\/$/, '') + path, {
    method: 'POST',
    headers: { Authorization: `Bearer ${key}`, 'Content-Type': type },
    body,
    signal: AbortSignal.timeout(milliseconds),
  });
  if (!answer.ok) {
    throw new Error(`Afterglow answered ${answer.status}: ${(await answer.text()).slice(0, 2000)}`);
  }
  return answer.json();
}
