# The function app as a container, for Azure Container Apps, Kubernetes or Docker. Flex Consumption does not need it.
# All settings come from the environment: see docs/deployment.md.
ARG PYTHON_VERSION=3.13
FROM mcr.microsoft.com/azure-functions/python:4-python${PYTHON_VERSION}

# Packages are checked against their hashes. Wheels only, so that no code of a package runs during installation.
COPY requirements.txt /tmp/requirements.txt
RUN pip install --no-cache-dir --require-hashes --only-binary=:all: --requirement /tmp/requirements.txt \
    && rm /tmp/requirements.txt

COPY function_app.py host.json /home/site/wwwroot/
COPY shared /home/site/wwwroot/shared

# Compiled here, since the user below may not write there. The host writes its caches and logs to separate folders.
RUN python -m compileall -q /home/site/wwwroot \
    && useradd --system --no-create-home --uid 10001 app \
    && mkdir -p /home/ASP.NET /home/data /home/LogFiles \
    && chown -R 10001 /home/ASP.NET /home/data /home/LogFiles

# An unprivileged port for the platform's probes. No request is served there.
# The host hands over 32 messages of each queue, and in a container one worker serves both queues.
ENV ASPNETCORE_URLS=http://+:8080 \
    AzureWebJobsScriptRoot=/home/site/wwwroot \
    AzureFunctionsJobHost__Logging__Console__IsEnabled=true \
    AzureFunctionsJobHost__Logging__FileLoggingMode=never \
    AzureFunctionsJobHost__FileWatchingEnabled=false \
    PYTHON_THREADPOOL_THREAD_COUNT=64 \
    MALLOC_ARENA_MAX=1
EXPOSE 8080
USER 10001
