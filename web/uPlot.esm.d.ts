// The build copies uPlot's module beside the page's own; its types stay in the package.
export { default } from "uplot";
