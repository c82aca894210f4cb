// Swagger UI over the document of the server that sent this page. All addresses are relative: a proxy may add a prefix.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  validatorUrl: null, // the default one is a host on the internet
  docExpansion: "list",
  tryItOutEnabled: false, // "Try it out" then "Execute", as the README tells it
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  deepLinking: true,
});
