package options

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/internal/yaml"
)

const maxConfigBytes = 1 << 20

// loadFiles lays the configuration file and the drop-ins over o, and returns
// which of their fields have no meaning here. A relative path in the file is
// relative to it; one in a drop-in is not (mergeKubeletConfigurations of
// cmd/kubelet/app/server.go).
func (o *Options) loadFiles(file, dir string) (ignored []string, err error) {
	if file != "" {
		if ignored, err = o.loadFile(file); err != nil {
			return nil, fmt.Errorf("--config: %w", err)
		}
		o.resolvePaths(filepath.Dir(file))
	}
	if dir != "" {
		err = filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) != ".conf" {
				return err
			}
			more, err := o.loadFile(path)
			ignored = append(ignored, more...)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("--config-dir: %w", err)
		}
	}
	slices.Sort(ignored)
	return slices.Compact(ignored), nil
}

// resolvePaths makes the paths that came with the file in folder absolute.
func (o *Options) resolvePaths(folder string) {
	for _, path := range []*string{&o.ClientCAFile, &o.TLSCertFile, &o.TLSPrivateKeyFile} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(folder, *path)
		}
	}
}

// loadFile lays one KubeletConfiguration, YAML or JSON, over o.
func (o *Options) loadFile(path string) (ignored []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxConfigBytes {
		err = fmt.Errorf("larger than %d bytes", maxConfigBytes)
	} else if content, err = yaml.ToJSON(content); err == nil {
		ignored, err = o.decode(content)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return ignored, err
}

func (o *Options) decode(content []byte) (ignored []string, err error) {
	var document map[string]json.RawMessage
	if err := json.Unmarshal(content, &document); err != nil {
		return nil, errors.New("not a KubeletConfiguration: want a mapping")
	}
	var version, kind string
	json.Unmarshal(document["apiVersion"], &version)
	json.Unmarshal(document["kind"], &kind)
	if version != "kubelet.config.k8s.io/v1beta1" || kind != "KubeletConfiguration" {
		return nil, fmt.Errorf("apiVersion %q, kind %q: want kubelet.config.k8s.io/v1beta1, KubeletConfiguration", version, kind)
	}
	delete(document, "apiVersion")
	delete(document, "kind")
	defaults := fileDefaults()
	if ignored, err = o.settings().Decode(document, strings.Fields(otherFields), defaults.settings()); err != nil {
		return nil, err
	}
	for name := range o.FeatureGates { // a real node has others
		if name != kubeletapi.FineGrainedGate {
			ignored = append(ignored, "featureGates."+name)
			delete(o.FeatureGates, name)
		}
	}
	return ignored, nil
}

// Configz is the body of /configz: o as the kubelet would show it, with those
// fields of a KubeletConfiguration that mean something here. It has no secrets,
// as a KubeletConfiguration has none.
func (o Options) Configz() any {
	return map[string]any{"kubeletconfig": o.settings().Encode()}
}

// otherFields are the fields of a v1beta1 KubeletConfiguration in v1.37.2
// (k8s.io/kubelet config/v1beta1/types.go) that have no meaning here.
const otherFields = `
enableServer staticPodPath podLogsDir syncFrequency fileCheckFrequency httpCheckFrequency staticPodURL
staticPodURLHeader readOnlyPort rotateCertificates serverTLSBootstrap registryPullQPS registryBurst
imagePullCredentialsVerificationPolicy preloadedImagesVerificationAllowlist eventRecordQPS eventBurst
enableDebuggingHandlers enableContentionProfiling oomScoreAdj clusterDomain
clusterDNS streamingConnectionIdleTimeout nodeStatusUpdateFrequency nodeStatusReportFrequency
nodeLeaseDurationSeconds imageMinimumGCAge imageMaximumGCAge imageGCHighThresholdPercent
imageGCLowThresholdPercent volumeStatsAggPeriod kubeletCgroups systemCgroups cgroupRoot cgroupsPerQOS
cgroupDriver cpuManagerPolicy singleProcessOOMKill cpuManagerPolicyOptions cpuManagerReconcilePeriod
memoryManagerPolicy topologyManagerPolicy topologyManagerScope topologyManagerPolicyOptions qosReserved
runtimeRequestTimeout hairpinMode maxPods podCIDR podPidsLimit resolvConf runOnce cpuCFSQuota cpuCFSQuotaPeriod
nodeStatusMaxImages maxOpenFiles contentType serializeImagePulls maxParallelImagePulls
evictionHard evictionSoft evictionSoftGracePeriod evictionPressureTransitionPeriod evictionMaxPodGracePeriod
evictionMinimumReclaim mergeDefaultEvictionSettings podsPerCore enableControllerAttachDetach
protectKernelDefaults makeIPTablesUtilChains iptablesMasqueradeBit iptablesDropBit failSwapOn memorySwap
containerLogMaxSize containerLogMaxFiles containerLogMaxWorkers containerLogMonitorInterval
configMapAndSecretChangeDetectionStrategy systemReserved kubeReserved reservedSystemCPUs
showHiddenMetricsForVersion systemReservedCgroup kubeReservedCgroup enforceNodeAllocatable
allowedUnsafeSysctls defaultPodSysctls volumePluginDir providerID kernelMemcgNotification logging
enableSystemLogQuery shutdownGracePeriod shutdownGracePeriodCriticalPods
shutdownGracePeriodByPodPriority crashLoopBackOff reservedMemory enableDebugFlagsHandler
seccompDefault memoryThrottlingFactor memoryReservationPolicy registerWithTaints registerNode tracing
localStorageCapacityIsolation containerRuntimeEndpoint imageServiceEndpoint failCgroupV1 userNamespaces`
