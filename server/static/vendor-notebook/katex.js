// What the notebook page uses of KaTeX, as one module. Its style sheet and fonts are not needed: the output is MathML.
import katex from "katex";

export const render = katex.render;
