// The page at `/`. Texts, labels and cards only ever become text nodes; the token lives in a variable and nowhere else.

import "./card.js";
import "./file.js";
import "./text.js";
import { connect } from "./server.js";

connect();
