import { render } from "preact";
import "./style.css";
import "./tools.css";
import { App } from "./app";

render(<App />, document.getElementById("app")!);
